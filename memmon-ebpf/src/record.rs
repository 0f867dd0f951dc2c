//! What the ring buffers carry: `HISTORY` every allocation and free, `CONTROL` the rarer events
//! about processes and owners, apart so that a flood of the one cannot push out the other.

/// Starts every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// [`crate::WIRE_VERSION`]
    pub version: u16,
    /// Bytes of the record, this header included.
    pub len: u16,
    /// [`HistoryKind`] or [`ControlKind`]
    pub kind: u32,
    /// Nanoseconds since boot.
    pub time_ns: u64,
    pub proc: u64,
    pub tgid: u32,
    pub tid: u32,
}

/// Kinds of [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HistoryKind {
    Alloc = 1,
    Free = 2,
    Failed = 3,
    /// A free of something unknown.
    UnknownFree = 4,
    Register = 5,
    /// A free that failed: what it named is as it was before.
    Unfreed = 6,
}

/// One allocation, free or failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct History {
    pub header: Header,
    /// Of a failure: its error code, 0 where that is not known.
    pub key: u64,
    pub owner: u64,
    pub requested: u64,
    pub charged: u64,
    /// Of a failure: the function, see [`crate::spec::ProbeSpec::label`].
    pub address: u64,
    pub space: u32,
    pub pool: u32,
    pub ogen: u32,
    /// The lower half of the row's [`crate::ledger::RowValue::sequence`] after it; 0 where no row
    /// changed.
    pub sequence: u32,
}

/// Kinds of [`Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ControlKind {
    /// The first event of a process. `comm` is set.
    ProcSeen = 1,
    /// The process became another program; what it held is gone. `comm` is the new one.
    Exec = 2,
    Exit = 3,
    /// An owner came into being.
    OwnerOpen = 4,
    /// The first allocation of an owner: `device` and `aux` are set.
    OwnerSeen = 5,
    /// An owner's memory ended at once; `ogen` is the generation that ended.
    FreeAll = 6,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    pub header: Header,
    pub owner: u64,
    pub device: u64,
    pub aux: u64,
    pub space: u32,
    pub pool: u32,
    pub ogen: u32,
    /// [`crate::ledger::proc_flag`] at that moment.
    pub flags: u32,
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 32);
const _: () = assert!(size_of::<History>() == 88);
const _: () = assert!(size_of::<Control>() == 88);
