//! One profiler: the client process that speaks to it, and the journal that it is told.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, ChildStdin},
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, MissedTickBehavior, sleep, sleep_until},
};

use super::{
    emit::{self, Emit},
    feed::Feed,
    launch::Launcher,
    listen::Source,
};
use crate::{
    observe::follow,
    tables::{Batch, Fact, Follower, snapshot::NoticeKind},
};

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("its client process cannot be started: {0}")]
    Start(io::Error),
    #[error("its client process ended: {0}")]
    Ended(String),
    #[error("it cannot be told anything: {0}")]
    Encode(postcard::Error),
}

/// All that stands is looked through no more often, however much is lost on the way.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

pub async fn serve(
    stream: TcpStream,
    launcher: &Launcher,
    source: &Source,
    stopped: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    let client = launcher.client(stream).await;
    let mut client = client.map_err(ConnectionError::Start)?;
    if let Some(pipe) = client.stdin.take() {
        tokio::select! {
            told = tell(pipe, source, stopped) => told?,
            // The profiler is gone, and it with it.
            _ = client.wait() => {}
        }
    }
    how_it_ended(client).await
}

enum Next {
    Refresh,
    Batch(Result<Arc<Batch>, RecvError>),
    End,
}

/// Until the profiler is gone, the observation ends or memmon does.
async fn tell(
    mut pipe: ChildStdin,
    source: &Source,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    let mut feed = Feed::new(source.filter.clone());
    let mut refresh = tokio::time::interval(source.refresh);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(Follower {
        checkpoint,
        mut batches,
    }) = follow_patiently(source).await
    {
        let again = Instant::now() + FOLLOW_EVERY;
        send(&mut pipe, feed.apply(&checkpoint)).await?;
        loop {
            let next = tokio::select! {
                biased;
                // Else it would never come while much happens.
                _ = refresh.tick() => Next::Refresh,
                // All that has happened comes before the end.
                batch = batches.recv() => Next::Batch(batch),
                _ = stopped.wait_for(|stop| *stop) => Next::End,
            };
            match next {
                Next::Refresh => send(&mut pipe, feed.refresh()).await?,
                Next::Batch(Ok(batch)) => {
                    send(&mut pipe, feed.apply(&batch)).await?;
                    if batch.facts.iter().any(is_loss) {
                        break;
                    }
                }
                // The profiler takes less than happens: it is told what stands now.
                Next::Batch(Err(RecvError::Lagged(_))) => break,
                Next::Batch(Err(RecvError::Closed)) | Next::End => {
                    return send(&mut pipe, feed.refresh()).await;
                }
            }
        }
        sleep_until(again).await;
    }
    Ok(())
}

/// None where the observation has ended.
async fn follow_patiently(source: &Source) -> Option<Follower> {
    loop {
        match follow(&source.follows).await {
            None if !source.follows.is_closed() => sleep(FOLLOW_EVERY).await,
            follower => return follower,
        }
    }
}

/// Frees may be among what was lost.
fn is_loss(fact: &Fact) -> bool {
    matches!(fact, Fact::Notice(notice) if notice.kind == NoticeKind::Loss)
}

async fn send(pipe: &mut ChildStdin, emits: Vec<Emit>) -> Result<(), ConnectionError> {
    let bytes = emit::encode(&emits).map_err(ConnectionError::Encode)?;
    // Where the client is gone, it is said why it ended.
    let _ = pipe.write_all(&bytes).await;
    Ok(())
}

/// The pipe is closed: the client says goodbye and ends, or has ended.
async fn how_it_ended(mut client: Child) -> Result<(), ConnectionError> {
    let mut said = String::new();
    if let Some(stderr) = client.stderr.take() {
        let _ = stderr.take(4096).read_to_string(&mut said).await;
    }
    match client.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(ConnectionError::Ended(match said.trim() {
            "" => status.to_string(),
            said => said.to_owned(),
        })),
        Err(error) => Err(ConnectionError::Ended(error.to_string())),
    }
}
