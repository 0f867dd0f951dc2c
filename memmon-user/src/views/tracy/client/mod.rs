//! The process that speaks to one profiler, as long as that is connected.
//!
//! Tracy's protocol lets whoever is connected read the memory of the process (names are asked for
//! by address) and hand it lengths that nobody checks; its client looks at the machine, starts
//! threads that poll, and ends the process where it does not like the clock. So it runs in none of
//! memmon's processes that matter, but in this one: without rights, without files, without network
//! but for the connection that it was given, and knowing nothing but what the profiler is told.

mod confine;
mod relay;
#[cfg_attr(not(feature = "tracy"), path = "no_sink.rs")]
mod sink;

use std::{
    io::{self, stdin},
    net::TcpStream,
    os::fd::{AsFd as _, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use super::emit;

/// Where Tracy's client listens: inside of this process's own network.
const INNER_PORT: u16 = 8086;

/// The client starts, measures the clock and answers the handshake; a fifth of a second as a rule.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    #[error("this build has no Tracy in it (cargo feature `tracy`)")]
    #[cfg(not(feature = "tracy"))]
    NotBuilt,
    #[error("cannot use the profiler's connection: {0}")]
    Connection(#[source] io::Error),
    #[error("Tracy's client does not listen: {0}")]
    NotListening(#[source] io::Error),
    #[error("Tracy's client did not take the connection within {PATIENCE:?}")]
    NotConnected,
    #[error("cannot read what is to be told: {0}")]
    Pipe(#[source] io::Error),
}

/// `memmon-ebpf tracy-client`: standard input is the pipe, standard output the profiler.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Error> {
    confine::forget_descriptors()?;
    let profiler = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(Error::Connection)?;
    let profiler = connection(profiler)?;
    confine::confine()?;
    let mut sink = sink::Sink::start()?;
    let client = reach_client()?;
    relay::start(profiler, client).map_err(Error::Connection)?;
    // What is told before is lost: on demand means that there is nobody to keep it for.
    let until = Instant::now() + PATIENCE;
    while !sink.is_connected() {
        if Instant::now() > until {
            return Err(Error::NotConnected);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut pipe = stdin().lock();
    while let Some(emits) = emit::read(&mut pipe).map_err(Error::Pipe)? {
        for emit in emits {
            sink.emit(emit);
        }
    }
    // memmon ends: what is under way still arrives, and the profiler learns that this was all.
    sink.finish();
    Ok(())
}

fn connection(descriptor: OwnedFd) -> Result<TcpStream, Error> {
    let stream = TcpStream::from(descriptor);
    stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_nodelay(true))
        .map_err(Error::Connection)?;
    Ok(stream)
}

fn reach_client() -> Result<TcpStream, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(("127.0.0.1", INNER_PORT)) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > until => return Err(Error::NotListening(error)),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}
