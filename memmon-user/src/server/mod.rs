//! The daemon's socket: one observation for everybody.
//!
//! A Unix stream socket. Every message is a length (four bytes, big endian) and that many bytes of
//! JSON. The client sends one [`Ask`]; the daemon answers with snapshots ([`Answer`]), one for
//! [`Wish::Snapshot`], one every `refresh_ms` for [`Wish::Watch`].

mod client;
pub mod http;
mod link;
mod listen;

pub use client::{Client, ClientError};
pub use link::Link;
pub use listen::{ListenError, serve};
use serde::{Deserialize, Serialize};

use crate::tables::{Filter, snapshot::Snapshot};

/// The version of these messages. A daemon refuses clients of another one, in words.
pub const PROTOCOL: u32 = 1;

/// The longest message that a daemon takes, in bytes.
pub const LONGEST_ASK: usize = 64 << 10;
/// The longest message that a client takes, in bytes.
pub const LONGEST_ANSWER: usize = 256 << 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    pub protocol: u32,
    pub wish: Wish,
    #[serde(default)]
    pub filter: Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    Snapshot,
    Watch { refresh_ms: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Snapshot(Box<Snapshot>),
    Error(String),
}
