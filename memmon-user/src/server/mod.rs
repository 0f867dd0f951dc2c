//! The daemon's socket: one observation for everybody. `docs/protocol.md` is the protocol.
//!
//! The daemon's side: [`socket`] makes the file, [`listen`] lets clients in, [`guests`] counts them,
//! a [`session`] answers one; the [`press`] draws up each snapshot once for all of them, [`turns`]
//! takes questions about live allocations and for audits in turn, and [`following`] passes the journal on.
//! [`visibility`] and [`veil`] say what a user sees of others.
//!
//! The client's side: [`client`] asks, [`watching`] goes on when the daemon is restarted, [`link`]
//! says whether one is there, and [`remote`] stands in for an observation.

mod client;
mod following;
mod guests;
pub mod http;
mod link;
mod listen;
mod press;
pub mod protocol;
pub mod remote;
mod session;
mod socket;
mod turns;
mod veil;
mod visibility;
mod watching;

pub use client::{Client, ClientError};
pub use link::Link;
pub use listen::{Daemon, Pulse, ServeError, Sources};
pub use socket::{Access, Claim, Socket, SocketError};
pub use visibility::Commands;
pub use watching::Watching;
