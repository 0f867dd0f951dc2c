//! A daemon in the place of an observation: the same questions, asked over its socket.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::sleep,
};

use super::client::{Client, ClientError};
use crate::tables::{Follower, live::Inspect};

/// Questions that may wait.
const WAITING: usize = 8;
/// Batches that a follower may be behind.
const BACKLOG: usize = 256;
/// Between two attempts to reach a daemon that went away.
const PAUSE: Duration = Duration::from_millis(500);

/// Answers questions about live allocations for as long as the sender is held. While no daemon is
/// there they are not answered.
pub fn inspections(path: PathBuf) -> mpsc::Sender<Inspect> {
    let (sender, mut inbox) = mpsc::channel::<Inspect>(WAITING);
    tokio::spawn(async move {
        let mut client = None;
        while let Some(Inspect { ask, mut reply }) = inbox.recv().await {
            let answer = async {
                let mut asked = match client.take() {
                    Some(client) => client,
                    None => Client::connect(&path, Duration::ZERO).await?,
                };
                let list = asked.live(ask).await?;
                client = Some(asked);
                Ok::<_, ClientError>(list)
            };
            // Whoever asked may have lost interest: then the answer would be the next one's.
            tokio::select! {
                list = answer => if let Ok(Some(list)) = list {
                    let _ = reply.send(list);
                },
                () = reply.closed() => {}
            }
        }
    });
    sender
}

/// Follows for whoever asks, for as long as the sender is held.
pub fn follows(path: PathBuf) -> mpsc::Sender<oneshot::Sender<Follower>> {
    let (sender, mut inbox) = mpsc::channel::<oneshot::Sender<Follower>>(WAITING);
    tokio::spawn(async move {
        while let Some(reply) = inbox.recv().await {
            let follower = async {
                let client = Client::connect(&path, Duration::ZERO).await?;
                client.follow().await
            };
            if let Ok(follower) = follower.await {
                let _ = reply.send(follower);
            }
        }
    });
    sender
}

/// Passes batches on until nobody takes them. After a daemon that went away comes the whole state of
/// the next, as a batch.
pub(super) async fn follow(mut client: Client) -> Result<Follower, ClientError> {
    let checkpoint = client.begin_to_follow().await?;
    let (sender, batches) = broadcast::channel(BACKLOG);
    tokio::spawn(async move {
        loop {
            while let Ok(batch) = client.next_batch().await {
                if sender.send(batch).is_err() {
                    return;
                }
            }
            let Some((next, checkpoint)) = again(client.path(), &sender).await else {
                return;
            };
            client = next;
            let _ = sender.send(checkpoint);
        }
    });
    Ok(Follower {
        checkpoint,
        batches,
    })
}

async fn again<T>(
    path: &Path,
    taken: &broadcast::Sender<T>,
) -> Option<(Client, std::sync::Arc<crate::tables::Batch>)> {
    while taken.receiver_count() > 0 {
        sleep(PAUSE).await;
        let Ok(mut client) = Client::connect(path, Duration::ZERO).await else {
            continue;
        };
        if let Ok(checkpoint) = client.begin_to_follow().await {
            return Some((client, checkpoint));
        }
    }
    None
}
