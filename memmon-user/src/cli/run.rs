//! `memmon-ebpf run -- COMMAND`: the command owns the terminal; memmon says what it saw at the end.

use std::process::ExitCode;

use super::{
    args::Run,
    child::{Child, Ended, code},
    exit::Failure,
    logging, rights, tracy,
};
use crate::{
    observe::{Observation, Options},
    tables::{Filter, snapshot::Snapshot},
    views::{output, snapshot},
};

pub async fn main(run: &Run) -> Result<ExitCode, Failure> {
    let runtimes = run.runtimes.load()?;
    rights::to_observe()?;
    let filter = Filter {
        runtimes: run.runtimes.names.clone(),
        ..Filter::default()
    };
    let options = Options {
        command: Some(run.command.clone()),
        ..run.observing.options(filter)
    };
    let listener = tracy::bind(&run.tracy).await?;
    let observation = Observation::start(options, runtimes, run.observing.refresh())?;
    let tracy = tracy::start(
        listener,
        &observation,
        Filter::default(),
        run.observing.refresh(),
    )?;
    // The terminal is the command's.
    let held = logging::hold();
    // It has what this thread has so far: the caller's rights.
    let child = Child::start(&run.command);
    rights::keep_for_command(run.output.file.as_deref())?;
    let ended = match child {
        Ok(child) => child.wait().await,
        Err(failure) => Err(failure),
    };
    drop(held);
    let last = observation.snapshot(Filter::default()).await;
    tracy::stop(tracy).await;
    let status = ended.and_then(Ended::status);
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

fn summary(snapshot: &Snapshot) -> String {
    snapshot::render(
        snapshot,
        snapshot::Format::Table,
        &snapshot::Options::default(),
    )
    .unwrap_or_default()
}
