//! A client that follows every event, and does nothing with it.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    thread,
};

use anyhow::{Context, Result};

/// It follows until this goes.
#[derive(Debug)]
pub struct Follower(UnixStream);

impl Follower {
    /// As `docs/protocol.md` says.
    pub fn start(socket: &Path) -> Result<Self> {
        let mut stream = UnixStream::connect(socket).context("cannot connect to the daemon")?;
        let question = br#"{"protocol": 1, "wish": "follow"}"#;
        stream.write_all(&u32::try_from(question.len())?.to_be_bytes())?;
        stream.write_all(question)?;
        // The whole state comes first.
        stream.read_exact(&mut [0])?;
        let mut from = stream.try_clone()?;
        thread::spawn(move || io::copy(&mut from, &mut io::sink()));
        Ok(Self(stream))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}
