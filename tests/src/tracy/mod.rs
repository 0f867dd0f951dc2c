//! A Tracy profiler, as far as its protocol goes: written after Tracy's own sources
//! (`TracyProtocol.hpp`, `TracyQueue.hpp`, `TracyWorker.cpp` of 0.14), not after memmon's.
//!
//! It asks for names when it meets them, as the profiler does, keeps the same books and ends where
//! that one would end the connection.

mod books;
mod stream;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

pub use books::{Books, Message, Pool};
use stream::Stream;

/// Of Tracy 0.14.
pub const PROTOCOL: u32 = 82;

/// What a client answers the greeting with.
pub const WELCOME: u8 = 1;
pub const PROTOCOL_MISMATCH: u8 = 2;
pub const NOT_AVAILABLE: u8 = 3;

const PATIENCE: Duration = Duration::from_secs(20);

/// A profiler that is connected.
#[derive(Debug)]
pub struct Profiler {
    socket: TcpStream,
    stream: Stream,
    pub welcome: Welcome,
    pub books: Books,
}

/// Some of what the client says of itself.
#[derive(Clone, Debug)]
pub struct Welcome {
    pub pid: u64,
    pub sampling_period: i64,
    pub flags: u8,
    pub program: String,
    pub host: String,
}

/// Connects and greets with a version; the answer, and the connection.
pub fn greet(address: SocketAddr, version: u32) -> Result<(u8, TcpStream)> {
    let mut socket =
        TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(b"TracyPrf")?;
    socket.write_all(&version.to_le_bytes())?;
    let mut status = [0];
    socket
        .read_exact(&mut status)
        .context("the answer to the greeting")?;
    Ok((status[0], socket))
}

impl Profiler {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let (status, mut socket) = greet(address, PROTOCOL)?;
        ensure!(status == WELCOME, "not welcome: {status}");
        let mut bytes = [0; 1170];
        socket.read_exact(&mut bytes).context("the welcome")?;
        let welcome = Welcome::of(&bytes);
        if welcome.flags & 1 != 0 {
            // How many frames there were before, and the time.
            socket
                .read_exact(&mut [0; 16])
                .context("the welcome on demand")?;
        }
        Ok(Self {
            socket,
            stream: Stream::default(),
            welcome,
            books: Books::default(),
        })
    }

    /// Listens until `wanted` finds what it looks for; every name that came up is known then.
    pub fn wait_for(&mut self, what: &str, mut wanted: impl FnMut(&Books) -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !(self.books.unknown_names() == 0 && wanted(&self.books)) {
            if Instant::now() > until {
                bail!("waited in vain for {what}: {:#?}", self.books);
            }
            ensure!(
                !self.books.ended,
                "the client ended before {what}: {:#?}",
                self.books
            );
            self.listen()
                .with_context(|| format!("waiting for {what}"))?;
        }
        Ok(())
    }

    /// Listens to the end of what the client has to say, and lets it go then.
    pub fn to_the_end(&mut self) -> Result<()> {
        while !self.books.ended || self.books.unknown_names() > 0 {
            self.listen()?;
        }
        self.ask(Query {
            kind: Question::Terminate,
            pointer: 0,
        })
    }

    /// One block, with the questions it raises asked.
    pub fn listen(&mut self) -> Result<()> {
        for item in self.stream.next(&mut self.socket)? {
            for query in self.books.enter(&item)? {
                self.ask(query)?;
            }
        }
        Ok(())
    }

    /// Any question, also one that a profiler would not ask.
    pub fn ask(&mut self, query: Query) -> Result<()> {
        let mut packet = [0; 13];
        packet[0] = query.kind as u8;
        packet[1..9].copy_from_slice(&query.pointer.to_le_bytes());
        self.socket.write_all(&packet).context("asking")
    }

    /// As the profiler's window is closed.
    pub fn disconnect(mut self) -> Result<()> {
        self.ask(Query {
            kind: Question::Disconnect,
            pointer: 0,
        })?;
        self.ask(Query {
            kind: Question::Terminate,
            pointer: 0,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    pub kind: Question,
    pub pointer: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Question {
    Terminate = 0,
    String = 1,
    ThreadString = 2,
    PlotName = 4,
    FrameName = 5,
    Disconnect = 9,
}

impl Welcome {
    fn of(bytes: &[u8; 1170]) -> Self {
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
                .into_owned()
        };
        Self {
            pid: stream::u64_at(bytes, 48),
            sampling_period: stream::u64_at(bytes, 56).cast_signed(),
            flags: bytes[64],
            program: text(&bytes[82..146]),
            host: text(&bytes[146..]),
        }
    }
}

impl From<(Question, u64)> for Query {
    fn from((kind, pointer): (Question, u64)) -> Self {
        Self { kind, pointer }
    }
}
