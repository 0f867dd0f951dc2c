//! Whether the daemon is there.

/// A client's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Connected,
    /// It went away at this moment (nanoseconds since 1970), and is tried again and again.
    Lost { since_ns: u64 },
}
