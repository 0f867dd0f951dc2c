//! `memmon-ebpf run -- COMMAND`: the command owns the terminal; memmon says what it saw at the end.

use std::{
    ffi::OsString,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, ExitCode, ExitStatus},
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{args::Run, exit::Failure, logging, rights, tracy};
use crate::{
    observe::{Observation, Options},
    tables::{Filter, snapshot::Snapshot},
    views::{output, snapshot},
};

const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

pub async fn main(run: &Run) -> Result<ExitCode, Failure> {
    let runtimes = run.runtimes.load()?;
    rights::to_observe()?;
    let filter = Filter {
        runtimes: run.runtimes.names.clone(),
        ..Filter::default()
    };
    let options = Options {
        descendants_only: true,
        ..run.observing.options(filter)
    };
    let listener = tracy::bind(&run.tracy).await?;
    let observation = Observation::start(options, runtimes, run.observing.refresh())?;
    let tracy = tracy::start(
        listener,
        &observation,
        Filter::default(),
        run.observing.refresh(),
    );
    // The terminal is the command's.
    let held = logging::hold();
    let status = command(&run.command).await;
    drop(held);
    let last = observation.snapshot(Filter::default()).await;
    tracy::stop(tracy).await;
    observation.stop();
    let status = status?;
    if let Some(last) = last {
        eprint!("{}", summary(&last));
        if let Some(path) = &run.output.file {
            let format = run.output.format.unwrap_or(snapshot::Format::Json);
            let text = snapshot::render(&last, format, &snapshot::Options::default())?;
            // The command's exit code stands, whatever becomes of the file.
            if let Err(error) = output::write_whole(Some(path), &text) {
                eprintln!("memmon-ebpf: {error}");
            }
        }
    }
    Ok(code(status))
}

/// Runs it to its end, passing signals on.
pub async fn command(words: &[OsString]) -> Result<ExitStatus, Failure> {
    let [program, args @ ..] = words else {
        return Err(Failure::new("no command was given"));
    };
    let mut command = Command::new(program);
    command.args(args);
    // SAFETY: only async-signal-safe calls.
    unsafe {
        command.pre_exec(|| {
            // The runtime's own handlers and masks are not the command's.
            let none = nix::sys::signal::SigSet::empty();
            none.thread_set_mask().map_err(std::io::Error::from)
        });
    }
    // Handlers first: a signal between the two would end memmon alone.
    let mut passed = Vec::new();
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
        if is_ignored(number) {
            continue;
        }
        let listener = signal(kind).context("cannot receive signals")?;
        passed.push((listener, number));
    }
    let mut child = command.spawn().map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        Failure::with(
            code,
            format!("cannot start {}: {error}", program.to_string_lossy()),
        )
    })?;
    let pid = Pid::from_raw(child.id().cast_signed());
    for (mut listener, number) in passed {
        tokio::spawn(async move {
            while listener.recv().await.is_some() {
                let from_keyboard = matches!(number, Signal::SIGINT | Signal::SIGQUIT)
                    && std::io::IsTerminal::is_terminal(&std::io::stdin());
                if !from_keyboard {
                    let _ = kill(pid, number);
                }
            }
        });
    }
    let waited = tokio::task::spawn_blocking(move || child.wait()).await?;
    Ok(waited.context("cannot wait for the command")?)
}

fn is_ignored(signal: Signal) -> bool {
    let mut now = std::mem::MaybeUninit::<nix::libc::sigaction>::uninit();
    // SAFETY: sets nothing, and writes to `now` where it succeeds.
    unsafe {
        nix::libc::sigaction(signal as i32, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == nix::libc::SIG_IGN
    }
}

pub fn code(status: ExitStatus) -> ExitCode {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}

fn summary(snapshot: &Snapshot) -> String {
    snapshot::render(
        snapshot,
        snapshot::Format::Table,
        &snapshot::Options::default(),
    )
    .unwrap_or_default()
}
