//! `memmon-ebpf`: a full-screen view on a terminal, a stream of snapshots otherwise.

use std::{io::IsTerminal as _, process::ExitCode, sync::Arc, time::Instant};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::{args::Watch, exit::Failure, logging, query, rights, tracy};
use crate::{
    observe::Observation,
    tables::snapshot::Snapshot,
    views::{
        output::{Mode, Sink, Written},
        snapshot::{Options, Stream},
        tui,
    },
};

type Snapshots = watch::Receiver<Arc<Snapshot>>;

pub async fn main(args: &Watch) -> Result<ExitCode, Failure> {
    let runtimes = args.runtimes.load()?;
    query::check_pids(args)?;
    if args.socket.is_some() {
        tracy::none(
            &args.tracy,
            "--socket asks a daemon: that is the one to start with `serve --tracy`",
        )?;
    }
    if args.tracy.listen().is_none()
        && let Some(client) = query::daemon(args).await?
    {
        let snapshots = client
            .watch(args.filter(), args.observing.refresh())
            .await?;
        return show(snapshots, args).await;
    }
    rights::to_observe()?;
    let listener = tracy::bind(&args.tracy).await?;
    let observation = Observation::start(
        args.observing.options(args.filter()),
        runtimes,
        args.observing.refresh(),
    )?;
    wait_for_pids(args, observation.snapshots()).await?;
    let tracy = tracy::start(
        listener,
        &observation,
        args.filter(),
        args.observing.refresh(),
    );
    let result = show(observation.snapshots(), args).await;
    tracy::stop(tracy).await;
    observation.stop();
    result
}

/// A `--pid` that maps no runtime is nothing to observe.
async fn wait_for_pids(args: &Watch, mut snapshots: Snapshots) -> Result<(), Failure> {
    let until = Instant::now() + args.wait();
    for pid in &args.scope.pids {
        loop {
            let seen = snapshots
                .borrow_and_update()
                .processes
                .iter()
                .any(|process| process.pid == *pid);
            if seen {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, snapshots.changed())
                .await
                .is_err()
            {
                return Err(query::no_runtime(*pid));
            }
        }
    }
    Ok(())
}

async fn show(snapshots: Snapshots, args: &Watch) -> Result<ExitCode, Failure> {
    let full_screen = args.output.format.is_none()
        && args.output.file.is_none()
        && std::io::stdout().is_terminal();
    if !full_screen {
        return stream(snapshots, args).await;
    }
    let options = tui::Options::from_environment(args.observing.refresh(), String::new());
    // After the screen is given back.
    let _held = logging::hold();
    match tui::run(snapshots, options).await {
        Ok(tui::Exit::Quit | tui::Exit::TerminalGone) => Ok(ExitCode::SUCCESS),
        Ok(tui::Exit::Signal(_)) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

async fn stream(mut snapshots: Snapshots, args: &Watch) -> Result<ExitCode, Failure> {
    let mut sink = Sink::open(args.output.file.as_deref(), Mode::Stream)?;
    let mut stream = Stream::new(
        args.output.format.unwrap_or_default(),
        Options::default(),
        sink.continues(),
    );
    let mut ends = Ends::new()?;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let text = stream.render(&snapshot)?;
        if let Written::ReaderGone = sink.write(&text)? {
            break;
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() {
                return Err(Failure::new("the observation ended: the daemon is gone"));
            },
            () = ends.wait() => break,
        }
    }
    sink.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Signals that ask the program to end.
pub struct Ends {
    signals: [Signal; 3],
}

impl Ends {
    pub fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).context("cannot receive signals");
        Ok(Self {
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ],
        })
    }

    pub async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
