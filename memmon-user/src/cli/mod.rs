//! The command line: arguments, exit codes, and which part does what. Wiring only.

mod access;
mod args;
mod audit;
mod child;
mod derived;
mod doctor;
mod exit;
#[cfg(fuzzing)]
pub mod fuzzing;
mod heap;
mod logging;
mod profiles;
mod query;
mod record;
mod replay;
mod rights;
mod run;
mod serve;
mod stream;
mod systemd;
mod tracy;
mod watch;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use self::{
    args::{Args, Command},
    exit::Failure,
};
use crate::rights::{Held, drop_all, or_end, unreadable};

pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help goes to standard output and is no error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            });
        }
    };
    if let Some(Command::TracyClient) = args.command {
        // While this process has one thread: it gives up its rights.
        return crate::views::tracy::client::main();
    }
    if !Held::now().is_empty() {
        // Before there are threads of which some have fewer rights than others.
        or_end(unreadable());
    }
    heap::keep_small();
    logging::start(args.log);
    match dispatch(args) {
        Ok(code) => code,
        Err(failure) => {
            let mut text = failure.to_string();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            eprint!("memmon-ebpf: {text}");
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(args: Args) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // What takes rights is done by the main thread, or by one that was started for it.
        .on_thread_start(|| or_end(drop_all()))
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.spawn(heap::trim());
    let result = runtime.block_on(async {
        match args.command {
            None if args.watch.query => query::main(&args.watch).await,
            None => watch::main(&args.watch).await,
            Some(Command::Run(run)) => run::main(&run).await,
            Some(Command::Record(record)) => record::main(&record).await,
            Some(Command::Replay(replay)) => replay::main(&replay).await,
            Some(Command::Serve(serve)) => serve::main(&serve).await,
            Some(Command::Audit(args)) => audit::main(&args).await,
            Some(Command::Doctor(doctor)) => doctor::main(&doctor).await,
            Some(Command::Profiles(profiles)) => profiles::main(&profiles),
            Some(Command::Completions { shell }) => derived::completions(shell),
            Some(Command::Man { output }) => derived::manual(output.as_deref()),
            Some(Command::TracyClient) => Err(Failure::new("`tracy-client` runs alone")),
        }
    });
    // A thread that still waits for a slow reader must not keep the prompt.
    runtime.shutdown_background();
    result
}
