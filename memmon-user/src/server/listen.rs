//! Lets clients in. Every client has a task of its own; one that is slow, silent or gone costs itself
//! only.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    guests::{CONNECTIONS, FOLLOWERS, Guests},
    press::Press,
    protocol::{Answer, frame},
    session::Session,
    socket::Socket,
    turns::Turns,
    veil::Veil,
    visibility::Commands,
};
use crate::{
    observe::{AuditRequest, Observation, Request},
    tables::{Filter, Follower, live::Inspect},
};

/// How long a question about live allocations, or for an audit, waits for its turn.
const LIVE_PATIENCE: Duration = Duration::from_secs(5);
const AUDIT_PATIENCE: Duration = Duration::from_secs(10);
/// How long nobody is let in when descriptors have run out.
const BREATH: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the observer stopped, so there is nothing to serve; start the daemon again")]
    ObserverStopped,
}

/// Where the answers come from.
#[derive(Debug)]
pub struct Sources {
    pub requests: mpsc::Sender<Request>,
    pub inspections: mpsc::Sender<Inspect>,
    pub follows: mpsc::Sender<oneshot::Sender<Follower>>,
    pub audits: mpsc::Sender<AuditRequest>,
    /// What is observed at all.
    pub scope: Filter,
}

/// What all sessions share.
#[derive(Debug)]
pub struct House {
    pub press: Press,
    pub live_questions: Turns<Inspect>,
    pub audits: Turns<AuditRequest>,
    pub follows: mpsc::Sender<oneshot::Sender<Follower>>,
    pub followers: Guests,
    pub veil: Veil,
    epoch: Instant,
    guests: Guests,
    commands: Commands,
}

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    pub clients: usize,
    pub processes: usize,
}

/// Answers clients of an observation.
#[derive(Clone, Debug)]
pub struct Daemon(Arc<House>);

impl Sources {
    pub fn of(observation: &Observation, scope: Filter) -> Self {
        Self {
            requests: observation.requests.clone(),
            inspections: observation.inspections(),
            follows: observation.follows(),
            audits: observation.audits(),
            scope,
        }
    }
}

impl House {
    /// The next moment of this pace. All who keep a pace have their moments in common, and so the
    /// snapshots.
    pub fn next_moment(&self, pace: Duration) -> Instant {
        let pace = pace.as_nanos().max(1);
        let next = (self.epoch.elapsed().as_nanos() / pace + 1) * pace;
        self.epoch + Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX))
    }
}

impl Daemon {
    pub fn new(sources: Sources, commands: Commands) -> Self {
        let Sources {
            requests,
            inspections,
            follows,
            audits,
            scope,
        } = sources;
        Self(Arc::new(House {
            press: Press::new(requests, scope),
            live_questions: Turns::new(inspections, LIVE_PATIENCE),
            audits: Turns::new(audits, AUDIT_PATIENCE),
            follows,
            followers: Guests::new(FOLLOWERS),
            veil: Veil::default(),
            epoch: Instant::now(),
            guests: Guests::new(CONNECTIONS),
            commands,
        }))
    }

    /// Serves until `stop` resolves.
    pub async fn serve(
        &self,
        socket: Socket,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        tokio::pin!(stop);
        // They end with this.
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = self.0.press.idle() => return Err(ServeError::ObserverStopped),
                Some(_) = sessions.join_next() => {}
                client = socket.listener.accept() => match client {
                    Ok((stream, _)) => self.receive(stream, &mut sessions),
                    // Out of descriptors: others will be given back.
                    Err(_) => sleep(BREATH).await,
                }
            }
        }
    }

    fn receive(&self, stream: UnixStream, sessions: &mut JoinSet<()>) {
        // As they were when it connected. Who cannot be told is not served.
        let Ok(peer) = stream.peer_cred() else {
            return;
        };
        match self.0.guests.admit(peer.uid()) {
            Ok(guest) => {
                let sight = self.0.commands.sight(peer.uid());
                let session = Session::new(stream, self.0.clone(), peer.uid(), sight);
                sessions.spawn(async move {
                    session.run().await;
                    drop(guest);
                });
            }
            Err(full) => {
                if let Ok(frame) = frame(&Answer::Error(full.to_string())) {
                    // Its buffer is empty: it takes this at once or not at all.
                    let _ = stream.try_write(&frame);
                }
            }
        }
    }

    /// Asks the observer; none when it has ended.
    pub async fn pulse(&self) -> Option<Pulse> {
        let edition = self.0.press.edition(Instant::now()).await?;
        Some(Pulse {
            clients: self.0.guests.count(),
            processes: edition.snapshot.processes.len(),
        })
    }
}
