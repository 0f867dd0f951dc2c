//! `memmon-ebpf replay FILE`

use std::{io::IsTerminal as _, process::ExitCode, sync::Arc, time::Duration};

use super::{
    args::{Replay, ReplayFormat},
    exit::Failure,
    rights,
};
use crate::{
    clock,
    recording::{Cursor, Moment, Recording, reader::Stamp},
    tables::Filter,
    views::{
        export::{self, ExportError},
        output, replay,
        snapshot::{self, Format},
        tui,
    },
};

/// A view of a recording does what it is told at once.
const REFRESH: Duration = Duration::from_millis(100);

pub async fn main(args: &Replay) -> Result<ExitCode, Failure> {
    let recording = Recording::open(&args.file)
        .map_err(|error| Failure::new(format!("cannot replay {}: {error}", args.file.display())))?;
    rights::keep_to_write(args.output.as_deref())?;
    let recording = Arc::new(recording);
    let filter = filter(args, &recording.meta().filter);
    let plain = args.output.is_some() || !std::io::stdout().is_terminal();
    let format = match args.format {
        None if plain => Some(ReplayFormat::Snapshot(Format::default())),
        format => format,
    };
    if format.is_some() {
        for note in recording.notes() {
            eprintln!("memmon-ebpf: {}: {note}", args.file.display());
        }
    }
    match format {
        Some(ReplayFormat::Snapshot(format)) => print(args, recording, &filter, format),
        Some(ReplayFormat::Export(format)) => {
            match export::write(recording, &filter, format, args.output.as_deref()) {
                // `| head` has what it wanted.
                Ok(()) | Err(ExportError::ReaderGone) => Ok(ExitCode::SUCCESS),
                Err(error) => Err(error.into()),
            }
        }
        None => show(args, recording, filter).await,
    }
}

/// What was asked for here, else what was recorded.
fn filter(args: &Replay, recorded: &Filter) -> Filter {
    fn narrower<T: Clone>(asked: Vec<T>, recorded: &[T]) -> Vec<T> {
        if asked.is_empty() {
            return recorded.to_vec();
        }
        asked
    }
    let devices = args.scope.devices.iter().map(|id| i64::from(*id));
    Filter {
        pids: narrower(args.scope.pids.clone(), &recorded.pids),
        devices: narrower(devices.collect(), &recorded.devices),
        runtimes: narrower(args.runtimes.clone(), &recorded.runtimes),
    }
}

fn moment(args: &Replay, recording: &Recording, otherwise: Moment) -> Result<u64, Failure> {
    args.at.unwrap_or(otherwise).of(recording).ok_or_else(|| {
        let time = |at: Stamp| clock::rfc3339(at.epoch_ns.into()).unwrap_or_default();
        Failure::new(format!(
            "that moment is not in {}, which goes from {} to {}",
            args.file.display(),
            time(recording.start()),
            time(recording.end())
        ))
    })
}

fn print(
    args: &Replay,
    recording: Arc<Recording>,
    filter: &Filter,
    format: Format,
) -> Result<ExitCode, Failure> {
    let at = moment(args, &recording, Moment::BeforeEnd(Duration::ZERO))?;
    let mut cursor = Cursor::new(recording)?;
    cursor.seek(at)?;
    let text = snapshot::render(
        &replay::snapshot(&cursor, filter),
        format,
        &snapshot::Options::default(),
    )?;
    let _ = output::write_whole(args.output.as_deref(), &text)?;
    Ok(ExitCode::SUCCESS)
}

async fn show(
    args: &Replay,
    recording: Arc<Recording>,
    filter: Filter,
) -> Result<ExitCode, Failure> {
    let at = moment(args, &recording, Moment::AfterStart(Duration::ZERO))?;
    let cursor = Cursor::new(recording)?;
    let source = replay::start(cursor, filter, at)
        .map_err(|error| Failure::new(format!("cannot replay: {error}")))?;
    let options = args.screen.options(REFRESH, String::new());
    match tui::run(source, options).await {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}
