//! `serve --metrics`: answers scrapers over HTTP.
//!
//! A connection carries one request and lives [`listen::PATIENCE`] at the longest, and there are
//! [`listen::MOST`] of them at the most, the oldest making room for the newest: whoever is slow,
//! silent or hostile waits alone.

mod accept;
mod address;
mod answer;
#[cfg(fuzzing)]
pub mod fuzzing;
mod listen;
mod scrape;

use std::{io, net::SocketAddr};

pub use address::{Address, BadAddress};
pub use listen::Listener;

#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {cause}; {}", advice(.cause))]
pub struct BindError {
    pub address: SocketAddr,
    pub cause: io::Error,
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "choose another port with --metrics ADDR:PORT",
        io::ErrorKind::AddrNotAvailable => {
            "choose an address of this machine; 127.0.0.1 for itself, 0.0.0.0 for everyone"
        }
        _ => "choose another address or port with --metrics ADDR:PORT",
    }
}
