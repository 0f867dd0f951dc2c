//! `memmon-ebpf record -o FILE`

use std::{
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{
    args::Record,
    child::{self, Child},
    exit::{Failure, USAGE},
    query, rights,
    watch::Ends,
};
use crate::{
    clock,
    observe::Observation,
    recording::{
        Meta, Writer,
        target::{Target, TargetError, rotated},
        writer::WriteError,
    },
    tables::{Batch, Filter, Follower},
    views::units::Bytes,
};

/// Beyond a refresh, within which the history of what was told has come.
const SLACK: Duration = Duration::from_millis(50);

pub async fn main(args: &Record) -> Result<ExitCode, Failure> {
    if args.file == Path::new("-") && !args.command.is_empty() {
        let message = "standard output is the command's; name a file with -o";
        return Err(Failure::with(USAGE, message));
    }
    let runtimes = args.runtimes.load()?;
    query::check_pids(&args.scope.pids)?;
    rights::to_observe()?;
    // Before the work: a place that cannot be written is found at once.
    let target = Target::create(&args.file, args.force).map_err(of_target)?;
    let filter = args.scope.filter(&args.runtimes);
    let mut options = args.observing.options(filter.clone());
    options.command = (!args.command.is_empty()).then(|| args.command.clone());
    let ends = Ends::new()?;
    let observation = match Observation::start(options, runtimes, args.observing.refresh()) {
        Ok(observation) => observation,
        Err(error) => {
            target.discard();
            return Err(error.into());
        }
    };
    let result = record(args, filter, target, &observation, ends).await;
    observation.stop();
    result
}

async fn record(
    args: &Record,
    filter: Filter,
    target: Target,
    observation: &Observation,
    mut ends: Ends,
) -> Result<ExitCode, Failure> {
    let Some(follower) = observation.follow().await else {
        return Err(Failure::new("the observation ended before it began"));
    };
    let mut recorder = Recorder::begin(args, filter, target, &follower)?;
    let mut follower = follower.batches;
    let child = match args.command.as_slice() {
        [] => None,
        // It has what this thread has so far: the caller's rights.
        words => Some(Child::start(words)?),
    };
    // Where there is a largest size, files are moved and made on the way.
    let later = args.max_size.map(|_| args.file.as_path());
    match child {
        Some(_) => rights::keep_for_command(later)?,
        None => rights::keep_to_write(later)?,
    }
    let mut ended = std::pin::pin!(ending(args, &mut ends, child));
    let ended = loop {
        tokio::select! {
            batch = follower.recv() => match batch {
                Ok(batch) => if recorder.take(batch)? { break Ended::Full },
                Err(RecvError::Lagged(_)) => match observation.follow().await {
                    Some(anew) => {
                        if recorder.anew(&anew.checkpoint)? {
                            break Ended::Full;
                        }
                        follower = anew.batches;
                    }
                    None => break Ended::Observation,
                },
                Err(RecvError::Closed) => break Ended::Observation,
            },
            () = recorder.due() => if recorder.flush()? { break Ended::Full },
            ended = &mut ended => break ended?,
        }
    };
    // All that happened until now is told before this is answered.
    let _ = observation.snapshot(Filter::default()).await;
    loop {
        match follower.try_recv() {
            Ok(batch) => drop(recorder.take(batch)?),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    recorder.finish()?;
    match ended {
        Ended::AsAsked => Ok(ExitCode::SUCCESS),
        Ended::Command(ended) => Ok(child::code(ended.status()?)),
        Ended::Full => {
            eprintln!("memmon-ebpf: it has the size that --max-size allows");
            Ok(ExitCode::SUCCESS)
        }
        Ended::Observation => Err(Failure::new(
            "the observation ended; what was recorded until then replays",
        )),
    }
}

enum Ended {
    AsAsked,
    Command(child::Ended),
    Full,
    Observation,
}

/// Waits until it is time to end.
async fn ending(args: &Record, ends: &mut Ends, child: Option<Child>) -> Result<Ended, Failure> {
    let timeout = async {
        match args.duration {
            Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let Some(child) = child else {
        tokio::select! {
            () = ends.wait() => {}
            () = timeout => {}
        }
        return Ok(Ended::AsAsked);
    };
    // Signals are the command's.
    tokio::select! {
        ended = child.wait() => ended.map(Ended::Command),
        () = timeout => Ok(Ended::AsAsked),
    }
}

struct Recorder<'a> {
    args: &'a Record,
    meta: Meta,
    writer: Writer<Target>,
    started: Instant,
    /// Since when something waits to be written.
    waiting: Option<Instant>,
}

impl<'a> Recorder<'a> {
    fn begin(
        args: &'a Record,
        filter: Filter,
        target: Target,
        follower: &Follower,
    ) -> Result<Self, Failure> {
        let meta = Meta {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: clock::now(),
            refresh_ms: args.observing.refresh,
            filter,
        };
        let writer = Writer::begin(target, &meta, &follower.checkpoint)
            .map_err(|error| unwritten(args, &error))?;
        Ok(Self {
            args,
            meta,
            writer,
            started: Instant::now(),
            waiting: None,
        })
    }

    /// True where there is no room for more.
    fn take(&mut self, batch: Arc<Batch>) -> Result<bool, Failure> {
        if self.writer.take(batch) {
            return self.flush();
        }
        self.waiting.get_or_insert_with(Instant::now);
        Ok(false)
    }

    /// Waits until what was taken is to be written, come what may.
    async fn due(&self) {
        match self.waiting {
            Some(since) => {
                let due = since + self.args.observing.refresh() + SLACK;
                tokio::time::sleep_until(due.into()).await;
            }
            None => std::future::pending().await,
        }
    }

    fn flush(&mut self) -> Result<bool, Failure> {
        let flushed = self.writer.flush();
        let flushed = flushed.and_then(|()| Ok(self.writer.out().sync_if_due()?));
        self.check(flushed)?;
        self.waiting = self.writer.is_pending().then(Instant::now);
        self.make_room()
    }

    fn make_room(&mut self) -> Result<bool, Failure> {
        let Some(most) = self.args.max_size else {
            return Ok(false);
        };
        if self.writer.length() < most / 2 {
            return Ok(false);
        }
        let Some(next) = self.writer.out().rotate().map_err(of_target)? else {
            return Ok(self.writer.length() >= most);
        };
        let before = self.writer.go_on_in(next, &self.meta);
        let synced = before.and_then(|mut before| Ok(before.sync()?));
        self.check(synced)?;
        Ok(false)
    }

    /// True where there is no room for more.
    fn anew(&mut self, checkpoint: &Batch) -> Result<bool, Failure> {
        eprintln!("memmon-ebpf: writing was too slow: there is a gap in the recording");
        let written = self.writer.anew(checkpoint, clock::now());
        self.check(written)?;
        self.make_room()
    }

    fn finish(mut self) -> Result<(), Failure> {
        // That nothing happened until now is known, too.
        self.writer.take(Arc::new(Batch {
            epoch_ns: clock::epoch_ns(),
            boot_ns: clock::boot_ns(),
            facts: Vec::new(),
        }));
        let finished = self.writer.finish();
        let finished = finished.and_then(|written| {
            self.writer.out().sync()?;
            Ok(written)
        });
        let written = match finished {
            Ok(written) => written,
            Err(error) => return self.check(Err(error)),
        };
        let health = self.writer.state().tables.known_health();
        // Of few events, it would only tell the size of what is written in any case.
        let each = match written.events {
            0..1000 => String::new(),
            events => format!(
                " ({:.1} bytes an event)",
                written.bytes as f64 / events as f64
            ),
        };
        let older = rotated(&self.args.file);
        let place = match older.exists() && self.args.max_size.is_some() {
            true => format!("{} and {}", older.display(), self.args.file.display()),
            false => self.args.file.display().to_string(),
        };
        eprintln!(
            "memmon-ebpf: recorded {} events of {:.1} s in {}{each}, {} lost; `memmon-ebpf replay {place}`",
            written.events,
            self.started.elapsed().as_secs_f64(),
            Bytes::Human.format(written.bytes),
            health.lost_events,
        );
        Ok(())
    }

    /// Leaves nothing half written.
    fn check(&mut self, result: Result<(), WriteError>) -> Result<(), Failure> {
        result.map_err(|error| {
            let length = self.writer.length();
            self.writer.out().truncate(length);
            unwritten(self.args, &error)
        })
    }
}

fn unwritten(args: &Record, error: &WriteError) -> Failure {
    Failure::new(format!(
        "cannot go on writing to {}: {error}; what was written until now replays",
        args.file.display()
    ))
}

fn of_target(error: TargetError) -> Failure {
    match error {
        TargetError::Terminal => Failure::with(USAGE, error.to_string()),
        _ => error.into(),
    }
}
