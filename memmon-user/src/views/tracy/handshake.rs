//! The beginning of Tracy's protocol: who is there, and whether it speaks the same version.

use std::time::Duration;

use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Of the Tracy that is built in (`ProtocolVersion` in its `TracyProtocol.hpp`).
pub const PROTOCOL: u32 = 82;

/// The releases of the profiler that speak it.
pub const RELEASES: &str = "0.14";

const SHIBBOLETH: [u8; 8] = *b"TracyPrf";

/// How long a connection may say nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the profiler is answered where it cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    ProtocolMismatch = 2,
    NotAvailable = 3,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Sent with this protocol.
    Version(u32),
    /// No profiler of Tracy's.
    Stranger,
}

/// What a profiler of this protocol says first.
pub fn greeting() -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&SHIBBOLETH);
    bytes[8..].copy_from_slice(&PROTOCOL.to_le_bytes());
    bytes
}

pub async fn read(stream: &mut TcpStream) -> Greeting {
    let mut bytes = [0; 12];
    match timeout(PATIENCE, stream.read_exact(&mut bytes)).await {
        Ok(Ok(_)) => parse(&bytes),
        Ok(Err(_)) | Err(_) => Greeting::Stranger,
    }
}

pub fn parse(bytes: &[u8; 12]) -> Greeting {
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<4>()) {
        (Some(&SHIBBOLETH), Some(version)) => Greeting::Version(u32::from_le_bytes(*version)),
        _ => Greeting::Stranger,
    }
}

pub async fn refuse(mut stream: TcpStream, refusal: Refusal) -> io::Result<()> {
    stream.write_all(&[refusal as u8]).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profiler_is_known_by_its_greeting() {
        assert_eq!(parse(&greeting()), Greeting::Version(PROTOCOL));
        let mut older = greeting();
        older[8..].copy_from_slice(&76_u32.to_le_bytes());
        assert_eq!(parse(&older), Greeting::Version(76));
        assert_eq!(parse(b"GET / HTTP/1"), Greeting::Stranger);
    }
}
