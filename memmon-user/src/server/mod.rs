//! The daemon's socket: one observation for everybody. `docs/protocol.md` is the protocol.
//!
//! The daemon's side: [`socket`] makes the file, [`listen`] lets clients in, [`guests`] counts them,
//! a [`session`] answers one, and the [`press`] draws up each snapshot once for all of them;
//! [`visibility`] says what a user sees of others. The client's: [`client`] asks, and [`link`] keeps
//! watching when the daemon is restarted.

mod client;
mod guests;
mod link;
mod listen;
mod press;
pub mod protocol;
mod session;
mod socket;
mod visibility;

pub use client::{Client, ClientError};
pub use link::{Link, Watching};
pub use listen::{Daemon, Pulse, ServeError};
pub use socket::{Access, Claim, Socket, SocketError};
pub use visibility::Commands;
