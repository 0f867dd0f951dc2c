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
    sync::{oneshot, watch},
};

use super::{args::Watch, exit::Failure, logging, query, rights, stream::Stream, tracy};
use crate::{
    observe::{Observation, Options, Request},
    server::{Link, Watching},
    tables::{Filter, snapshot::Snapshot},
    views::{
        output::{Mode, Sink},
        tui::{self, source::Source},
    },
};

pub type Snapshots = watch::Receiver<Arc<Snapshot>>;
/// Whether the daemon is there, where the snapshots come from one.
pub type Links = watch::Receiver<Link>;

pub async fn main(args: &Watch) -> Result<ExitCode, Failure> {
    let runtimes = args.runtimes.load()?;
    query::check_pids(&args.scope.pids)?;
    if args.socket.is_some() {
        tracy::none(
            &args.tracy,
            "--socket asks a daemon: that is the one to start with `serve --tracy`",
        )?;
    }
    if !args.sample
        && args.tracy.listen().is_none()
        && let Some(client) = query::daemon(args).await?
    {
        let sink = stream_sink(args)?;
        rights::keep_to_write([])?;
        let (pace, paced) = watch::channel(args.observing.refresh());
        let Watching {
            snapshots,
            link,
            inspections,
        } = client.watch(args.filter(), paced).await?;
        let source = Source {
            snapshots,
            inspections,
            link: Some(link),
            time: None,
        };
        return show(source, Some(pace), sink, args).await;
    }
    if args.sample {
        rights::to_look()?;
    } else {
        rights::to_observe()?;
    }
    let listener = tracy::bind(&args.tracy).await?;
    let observation = Observation::start(
        Options {
            sample: args.sample,
            ..args.observing.options(args.filter())
        },
        runtimes,
        args.observing.refresh(),
    )?;
    wait_for_pids(args, observation.snapshots()).await?;
    let sink = stream_sink(args)?;
    let tracy = tracy::start(
        listener,
        &observation,
        args.filter(),
        args.observing.refresh(),
    )?;
    rights::keep_to_write([])?;
    let (pace, paced) = watch::channel(args.observing.refresh());
    let source = Source {
        snapshots: at_pace(&observation, args.filter(), paced),
        inspections: observation.inspections(),
        link: None,
        time: None,
    };
    let result = show(source, Some(pace), sink, args).await;
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

/// Where a stream goes, opened while there are rights. None where the view takes the screen.
fn stream_sink(args: &Watch) -> Result<Option<Sink>, Failure> {
    let full_screen = args.output.format.is_none()
        && args.output.file.is_none()
        && std::io::stdout().is_terminal();
    if full_screen {
        return Ok(None);
    }
    let sink = Sink::open(args.output.file.as_deref(), Mode::Stream)?;
    Ok(Some(sink))
}

async fn show(
    source: Source,
    pace: Option<watch::Sender<Duration>>,
    sink: Option<Sink>,
    args: &Watch,
) -> Result<ExitCode, Failure> {
    if let Some(sink) = sink {
        return Stream::new(source.snapshots, source.link)
            .run(sink, args)
            .await;
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
