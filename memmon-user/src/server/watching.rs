//! Watching that outlives the daemon: when it goes, its socket is tried until a daemon is there
//! again, and whoever looks can tell.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    client::{Client, ClientError},
    link::Link,
    protocol::Wish,
    remote,
};
use crate::{
    clock,
    tables::{Filter, live::Inspect, snapshot::Snapshot},
};

/// How much longer than the pace a daemon may take with a snapshot before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to reach it, at first and at last.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(1);

/// What a watching client holds. The connection ends when `snapshots` is dropped.
#[derive(Clone, Debug)]
pub struct Watching {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub link: watch::Receiver<Link>,
    /// Answers questions about live allocations.
    pub inspections: mpsc::Sender<Inspect>,
}

struct Watcher {
    client: Client,
    filter: Filter,
    pace: watch::Receiver<Duration>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    link: watch::Sender<Link>,
}

/// Errors until the first snapshot are the caller's; later ones are the link's.
pub(super) async fn watch(
    mut client: Client,
    filter: Filter,
    mut pace: watch::Receiver<Duration>,
) -> Result<Watching, ClientError> {
    let refresh = *pace.borrow_and_update();
    let first = begin(&mut client, &filter, refresh).await?;
    let (snapshots, seen) = watch::channel(first);
    let (link, state) = watch::channel(Link::Connected);
    let inspections = remote::inspections(client.path().to_owned());
    let watcher = Watcher {
        client,
        filter,
        pace,
        snapshots,
        link,
    };
    tokio::spawn(watcher.run());
    Ok(Watching {
        snapshots: seen,
        link: state,
        inspections,
    })
}

impl Watcher {
    async fn run(mut self) {
        let looked_at = self.snapshots.clone();
        tokio::select! {
            () = self.keep() => {}
            () = looked_at.closed() => {}
        }
    }

    async fn keep(&mut self) {
        loop {
            self.pass_on().await;
            self.lost();
            let snapshot = self.again().await;
            self.snapshots.send_replace(snapshot);
            self.link.send_replace(Link::Connected);
        }
    }

    /// Passes snapshots on until no more come.
    async fn pass_on(&mut self) {
        loop {
            let refresh = *self.pace.borrow_and_update();
            let answer = tokio::select! {
                answer = patiently(refresh, self.client.next_snapshot()) => answer,
                // A second wish to watch takes the place of the first.
                Ok(()) = self.pace.changed() => {
                    let refresh = *self.pace.borrow_and_update();
                    begin(&mut self.client, &self.filter, refresh).await
                }
            };
            match answer {
                Ok(snapshot) => self.snapshots.send_replace(snapshot),
                Err(_) => return,
            };
        }
    }

    async fn again(&mut self) -> Arc<Snapshot> {
        let mut pause = SOON;
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LATER);
            if let Ok(snapshot) = self.reconnect().await {
                return snapshot;
            }
        }
    }

    async fn reconnect(&mut self) -> Result<Arc<Snapshot>, ClientError> {
        let mut client = Client::connect(self.client.path(), Duration::ZERO).await?;
        let refresh = *self.pace.borrow_and_update();
        let snapshot = begin(&mut client, &self.filter, refresh).await?;
        self.client = client;
        Ok(snapshot)
    }

    fn lost(&self) {
        self.link.send_if_modified(|link| {
            let news = *link == Link::Connected;
            if news {
                *link = Link::Lost {
                    since_ns: clock::epoch_ns(),
                };
            }
            news
        });
    }
}

async fn begin(
    client: &mut Client,
    filter: &Filter,
    refresh: Duration,
) -> Result<Arc<Snapshot>, ClientError> {
    let refresh_ms = u64::try_from(refresh.as_millis()).unwrap_or(u64::MAX);
    client
        .ask(Wish::Watch { refresh_ms }, filter.clone())
        .await?;
    patiently(refresh, client.next_snapshot()).await
}

async fn patiently<T>(
    refresh: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(refresh.saturating_add(PATIENCE), answer)
        .await
        .unwrap_or(Err(ClientError::Silent))
}
