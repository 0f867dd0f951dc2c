//! The daemon's socket: one observation for everybody. `docs/protocol.md` is the protocol.
//!
//! The daemon's side: [`socket`] makes the file, [`listen`] lets clients in, [`guests`] counts them,
//! a [`session`] answers one, and the [`press`] draws up each snapshot once for all of them;
//! [`visibility`] says what a user sees of others. The client's: [`client`] asks, and [`watching`]
//! goes on when the daemon is restarted; [`link`] says whether one is there.

mod client;
mod guests;
mod link;
mod listen;
mod press;
pub mod protocol;
mod session;
mod socket;
mod visibility;
mod watching;

pub use client::{Client, ClientError};
pub use link::Link;
pub use listen::{Daemon, Pulse, ServeError};
pub use socket::{Access, Claim, Socket, SocketError};
pub use visibility::Commands;
pub use watching::Watching;
