//! The command that memmon starts: it gets what the caller has, and nothing of memmon's.

use std::{
    ffi::OsString,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{self, Command, ExitCode, ExitStatus},
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::exit::Failure;
use crate::origin;

const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// A command that was started.
#[derive(Debug)]
pub struct Child {
    child: process::Child,
    /// What memmon was sent, and passes on.
    signals: mpsc::Receiver<Signal>,
}

impl Child {
    /// Starts it, with the rights of the calling thread.
    pub fn start(words: &[OsString]) -> Result<Self, Failure> {
        let [program, args @ ..] = words else {
            return Err(Failure::new("no command was given"));
        };
        let mut command = Command::new(program);
        command.args(args);
        // SAFETY: makes system calls only.
        unsafe { command.pre_exec(origin::restore) };
        // Handlers first: a signal between the two would end memmon alone.
        let signals = listen()?;
        let child = command.spawn().map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            };
            Failure::with(
                code,
                format!("cannot start {}: {error}", program.to_string_lossy()),
            )
        })?;
        Ok(Self { child, signals })
    }

    /// Waits for its end, passing signals on: from the thread that waits, for it may take a right to
    /// signal what the command has become.
    pub async fn wait(mut self) -> Result<Ended, Failure> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let mut ended = tokio::task::spawn_blocking(move || {
            loop {
                match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                    Err(Errno::EINTR) => {}
                    ended => return ended,
                }
            }
        });
        loop {
            tokio::select! {
                waited = &mut ended => {
                    waited?.context("cannot wait for the command")?;
                    return Ok(Ended(self.child));
                }
                Some(signal) = self.signals.recv() => {
                    let _ = kill(pid, signal);
                }
            }
        }
    }
}

/// A command that has ended, and of which it can still be said who it was.
#[derive(Debug)]
pub struct Ended(process::Child);

impl Ended {
    /// How it ended. From here on nothing is left of it.
    pub fn status(mut self) -> Result<ExitStatus, Failure> {
        Ok(self.0.wait().context("cannot wait for the command")?)
    }
}

fn listen() -> Result<mpsc::Receiver<Signal>, Failure> {
    let (sender, signals) = mpsc::channel(64);
    for (kind, number) in [
        (SignalKind::terminate(), Signal::SIGTERM),
        (SignalKind::hangup(), Signal::SIGHUP),
        (SignalKind::user_defined1(), Signal::SIGUSR1),
        (SignalKind::user_defined2(), Signal::SIGUSR2),
        // From the keyboard they reach the whole foreground group, the command included.
        (SignalKind::interrupt(), Signal::SIGINT),
        (SignalKind::quit(), Signal::SIGQUIT),
    ] {
        // What the caller ignores (`nohup`) stays ignored, in the command, too.
        if origin::is_ignored(number) {
            continue;
        }
        let mut listener = signal(kind).context("cannot receive signals")?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while listener.recv().await.is_some() {
                let from_keyboard = matches!(number, Signal::SIGINT | Signal::SIGQUIT)
                    && std::io::IsTerminal::is_terminal(&std::io::stdin());
                if !from_keyboard && sender.send(number).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(signals)
}

pub fn code(status: ExitStatus) -> ExitCode {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}
