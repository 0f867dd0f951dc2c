//! `--tracy`: what happens to device memory, in a connected Tracy profiler.
//!
//! ```text
//! journal ─▶ feed ─▶ connection ──pipe──▶ client (a process of its own) ──▶ profiler
//!            what to   one profiler       Tracy's library, confined
//!            tell it
//! ```
//!
//! Nothing of Tracy's runs, and nothing is followed, while no profiler is connected: [`listen`]
//! waits on a plain socket. Each connection gets a feed and a client of its own, so a profiler that
//! comes late, or again, is told everything that stands at that moment, and one that hangs costs
//! nobody else anything.

pub mod client;
mod connection;
mod emit;
mod feed;
pub mod handshake;
mod launch;
mod listen;
mod messages;
mod names;
mod standing;

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

pub use listen::{ListenError, Listener, Source, Tracy};

/// Where a profiler finds memmon unless told otherwise: Tracy's own port, on this machine only.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8086);

/// The version of Tracy's protocol that is built in. A profiler of another one is refused.
pub const fn protocol_version() -> u32 {
    handshake::PROTOCOL
}

/// Where [`LISTEN`] is what a profiler is to be told.
pub const fn listening_address() -> SocketAddr {
    LISTEN
}

/// The releases of the profiler that speak it.
pub const fn releases() -> &'static str {
    handshake::RELEASES
}

/// Whether this build has Tracy in it.
pub const fn is_built_in() -> bool {
    cfg!(feature = "tracy")
}
