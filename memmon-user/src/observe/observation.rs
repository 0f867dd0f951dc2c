//! A running observation: one thread owns the kernel side and the tables; everything else gets
//! snapshots from it.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Options, Runtimes,
    audit::AuditRequest,
    observer::{Inboxes, Observer},
    sampler::Sampler,
};
use crate::{
    attach::{features::FeatureError, kernel::KernelError},
    rights::{self, RightsError},
    tables::{Filter, Follower, live::Inspect, snapshot::Snapshot},
};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Feature(#[from] FeatureError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error("cannot watch for new libraries (perf_event_open)")]
    Watch(#[source] io::Error),
    #[error("cannot start the observer")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Rights(#[from] RightsError),
}

impl StartError {
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Kernel(error) => error.is_permission(),
            Self::Watch(error) => error.kind() == io::ErrorKind::PermissionDenied,
            Self::Feature(error) => error.is_permission(),
            Self::Thread(_) | Self::Rights(_) => false,
        }
    }
}

/// Asks for a snapshot that includes everything that happened before.
#[derive(Debug)]
pub struct Request {
    pub filter: Filter,
    pub reply: oneshot::Sender<Snapshot>,
}

/// What others hold of a running observation. It ends when this is dropped.
#[derive(Debug)]
pub struct Observation {
    snapshots: Arc<watch::Sender<Arc<Snapshot>>>,
    pub requests: mpsc::Sender<Request>,
    inspections: mpsc::Sender<Inspect>,
    follows: mpsc::Sender<oneshot::Sender<Follower>>,
    audits: mpsc::Sender<AuditRequest>,
    /// Dropped: the observer ends, whoever still holds `requests`.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Observation {
    /// Attaches, and returns when everything that runs already is observed.
    pub fn start(
        options: Options,
        runtimes: Runtimes,
        refresh: Duration,
    ) -> Result<Self, StartError> {
        let (requests, inbox) = mpsc::channel(64);
        let (inspections, inspected) = mpsc::channel(8);
        let (follows, followed) = mpsc::channel(8);
        let (audits, audited) = mpsc::channel(4);
        let inboxes = Inboxes {
            requests: inbox,
            inspections: inspected,
            follows: followed,
            audits: audited,
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = ready.send(Err(StartError::Thread(error)));
                        return;
                    }
                };
                runtime.block_on(async move {
                    if options.sample {
                        if let Err(error) = rights::keep_for_looking() {
                            let _ = ready.send(Err(error.into()));
                            return;
                        }
                        let mut sampler = Sampler::new(options, &runtimes);
                        let first = Arc::new(sampler.snapshot());
                        let snapshots = Arc::new(watch::Sender::new(first));
                        let _ = ready.send(Ok(snapshots.clone()));
                        sampler.run(inboxes, snapshots, refresh, stopped).await;
                        return;
                    }
                    let observer = Observer::new(options, runtimes).and_then(|observer| {
                        // Attached: from here on it looks after what comes.
                        rights::keep_for_observing()?;
                        Ok(observer)
                    });
                    let mut observer = match observer {
                        Ok(observer) => observer,
                        Err(error) => {
                            let _ = ready.send(Err(error));
                            return;
                        }
                    };
                    let snapshots = Arc::new(watch::Sender::new(Arc::new(observer.snapshot())));
                    let _ = ready.send(Ok(snapshots.clone()));
                    if let Err(error) = observer.run(inboxes, snapshots, refresh, stopped).await {
                        eprintln!("memmon-ebpf: the observer stopped: {error}");
                    }
                });
            })
            .map_err(StartError::Thread)?;
        let snapshots = started
            .recv()
            .unwrap_or_else(|_| Err(StartError::Thread(io::Error::other("it ended at once"))))?;
        Ok(Self {
            snapshots,
            requests,
            inspections,
            follows,
            audits,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The latest snapshot, at every refresh; none is drawn up while nobody has this.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// A snapshot with everything in it that had happened when this was called.
    pub async fn snapshot(&self, filter: Filter) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { filter, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Everything from now on, as it is told to the tables. A follower that falls behind follows
    /// anew; it keeps nobody waiting.
    pub async fn follow(&self) -> Option<Follower> {
        follow(&self.follows).await
    }

    /// For those who follow, and follow anew, in a task of their own.
    pub fn follows(&self) -> mpsc::Sender<oneshot::Sender<Follower>> {
        self.follows.clone()
    }

    /// Takes requests for audits. One that comes while too many wait is not answered.
    pub fn audits(&self) -> mpsc::Sender<AuditRequest> {
        self.audits.clone()
    }

    /// Takes questions about live allocations. One that comes while too many wait is not answered.
    pub fn inspections(&self) -> mpsc::Sender<Inspect> {
        self.inspections.clone()
    }

    /// Detaches and waits until that is done.
    pub fn stop(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Follows by a sender of [`Observation::follows`]; none where the observation has ended.
pub async fn follow(follows: &mpsc::Sender<oneshot::Sender<Follower>>) -> Option<Follower> {
    let (reply, answer) = oneshot::channel();
    follows.send(reply).await.ok()?;
    answer.await.ok()
}
