//! `memmon-ebpf`: a full-screen view on a terminal, a stream of snapshots otherwise.

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};

use super::{args::Watch, exit::Failure, logging, query, rights, tracy};
use crate::{
    observe::{Observation, Request},
    tables::{Filter, snapshot::Snapshot},
    views::{
        output::{Mode, Sink, Written},
        snapshot::{Options, Stream},
        tui::{self, source::Source},
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
        let source = Source {
            snapshots,
            // A daemon is not asked about single allocations.
            inspections: mpsc::channel(1).0,
            link: None,
            time: None,
        };
        return show(source, None, args).await;
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
    let (pace, paced) = watch::channel(args.observing.refresh());
    let source = Source {
        snapshots: at_pace(&observation, args.filter(), paced),
        inspections: observation.inspections(),
        link: None,
        time: None,
    };
    let result = show(source, Some(pace), args).await;
    tracy::stop(tracy).await;
    observation.stop();
    result
}

/// Snapshots as often as the reader wants them.
fn at_pace(
    observation: &Observation,
    filter: Filter,
    mut pace: watch::Receiver<Duration>,
) -> Snapshots {
    let requests = observation.requests.clone();
    let (sender, snapshots) = watch::channel(observation.snapshots().borrow().clone());
    tokio::spawn(async move {
        let mut last = tokio::time::Instant::now();
        loop {
            let every = *pace.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(last + every) => {}
                changed = pace.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            last = tokio::time::Instant::now();
            let (reply, answer) = oneshot::channel();
            let filter = filter.clone();
            if requests.send(Request { filter, reply }).await.is_err() {
                return;
            }
            let Ok(snapshot) = answer.await else {
                return;
            };
            if sender.send(Arc::new(snapshot)).is_err() {
                return;
            }
        }
    });
    snapshots
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

async fn show(
    source: Source,
    pace: Option<watch::Sender<Duration>>,
    args: &Watch,
) -> Result<ExitCode, Failure> {
    let full_screen = args.output.format.is_none()
        && args.output.file.is_none()
        && std::io::stdout().is_terminal();
    if !full_screen {
        return stream(source.snapshots, args).await;
    }
    let options = tui::Options {
        pace,
        ..args.screen.options(args.observing.refresh(), String::new())
    };
    // After the screen is given back.
    let _held = logging::hold();
    match tui::run(source, options).await {
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
