//! Keys and the mouse from the terminal, read on a thread of their own: a terminal that hangs up must end the view, and a
//! library that reads on after the end would spin instead.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe, read};
use tokio::sync::mpsc;

use super::keys::{Parser, Told};

/// How long to wait for the rest of a sequence: a lone escape byte is the Esc key.
const REST_MS: u16 = 30;

#[derive(Debug)]
pub struct Input {
    told: mpsc::Receiver<Told>,
    /// Closing it ends the thread.
    _stop: OwnedFd,
}

impl Input {
    pub fn start(terminal: io::Result<OwnedFd>) -> io::Result<Self> {
        let terminal = terminal?;
        let (stopped, stop) = pipe()?;
        let (sender, told) = mpsc::channel(64);
        thread::Builder::new()
            .name("tui-input".into())
            .spawn(move || {
                // However it ends, the closed channel tells.
                let _ = read_keys(&terminal, &stopped, &sender);
            })?;
        Ok(Self { told, _stop: stop })
    }

    /// None when the terminal is gone.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

/// Until the terminal hangs up, or nobody listens any more.
fn read_keys(
    terminal: &OwnedFd,
    stopped: &OwnedFd,
    sender: &mpsc::Sender<Told>,
) -> nix::Result<()> {
    let mut parser = Parser::default();
    let mut buffer = [0; 1024];
    loop {
        let mut watched = [
            PollFd::new(terminal.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = if parser.is_waiting() {
            PollTimeout::from(REST_MS)
        } else {
            PollTimeout::NONE
        };
        let ready = match poll(&mut watched, timeout) {
            Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        let events = watched.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let told = if ready == 0 {
            parser.give_up().into_iter().collect()
        } else if !events[1].is_empty() {
            return Ok(());
        } else {
            match read(terminal, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => parser.feed(&buffer[..length]),
                Err(Errno::EINTR | Errno::EAGAIN) if !events[0].contains(PollFlags::POLLHUP) => {
                    continue;
                }
                Err(e) => return Err(e),
            }
        };
        for one in told {
            if sender.blocking_send(one).is_err() {
                return Ok(());
            }
        }
    }
}
