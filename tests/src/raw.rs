//! A client of the daemon as `docs/protocol.md` describes it, which knows nothing of memmon's own.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

#[derive(Debug)]
pub struct Connection {
    pub stream: UnixStream,
}

impl Connection {
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("connecting")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream })
    }

    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        let length = u32::try_from(message.len())?;
        self.stream.write_all(&length.to_be_bytes())?;
        Ok(self.stream.write_all(message)?)
    }

    pub fn wish(&mut self, wish: Value) -> Result<()> {
        let question = json!({"protocol": 1, "wish": wish});
        self.send(question.to_string().as_bytes())
    }

    pub fn answer(&mut self) -> Result<Value> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("no answer")?;
        let mut text = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.stream.read_exact(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }

    pub fn ask(&mut self, wish: Value) -> Result<Value> {
        self.wish(wish)?;
        self.answer()
    }
}
