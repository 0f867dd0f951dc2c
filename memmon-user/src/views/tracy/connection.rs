//! One profiler: the client process that speaks to it, and the journal that it is told.

use std::{io, process::Stdio};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, ChildStdin, Command},
    sync::{
        broadcast::error::{RecvError, TryRecvError},
        watch,
    },
};

use super::{
    emit::{self, Emit},
    feed::Feed,
};
use crate::{observe::Journal, tables::Follower};

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("its client process cannot be started: {0}")]
    Start(#[source] io::Error),
    #[error("its client process ended: {0}")]
    Ended(String),
    #[error("it cannot be told anything: {0}")]
    Encode(#[source] postcard::Error),
}

/// The hidden verb of `memmon-ebpf` that [`super::client`] answers to.
pub const VERB: &str = "tracy-client";

pub async fn serve(
    stream: TcpStream,
    journal: Journal,
    stopped: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    let mut client = start(stream).map_err(ConnectionError::Start)?;
    if let Some(pipe) = client.stdin.take() {
        tell(pipe, journal, stopped).await?;
    }
    how_it_ended(client).await
}

fn start(stream: TcpStream) -> io::Result<Child> {
    let profiler = std::os::fd::OwnedFd::from(stream.into_std()?);
    Command::new("/proc/self/exe")
        .arg0("memmon-ebpf")
        .arg(VERB)
        .env_clear()
        // Keys pressed for memmon, or for the command that it runs, are not for this process.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(profiler)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Until the profiler is gone, the observation ends or memmon does.
async fn tell(
    mut pipe: ChildStdin,
    journal: Journal,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    let mut feed = Feed::default();
    while let Some(Follower {
        checkpoint,
        mut batches,
    }) = journal.follow().await
    {
        if !send(&mut pipe, feed.apply(&checkpoint)).await? {
            return Ok(());
        }
        loop {
            let batch = tokio::select! {
                biased;
                batch = batches.recv() => batch,
                _ = stopped.wait_for(|stop| *stop) => match batches.try_recv() {
                    Ok(batch) => Ok(batch),
                    Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
                },
            };
            match batch {
                Ok(batch) => {
                    if !send(&mut pipe, feed.apply(&batch)).await? {
                        return Ok(());
                    }
                }
                // The profiler takes less than happens: it is told what stands now.
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
    Ok(())
}

/// False where the client is gone.
async fn send(pipe: &mut ChildStdin, emits: Vec<Emit>) -> Result<bool, ConnectionError> {
    let bytes = emit::encode(&emits).map_err(ConnectionError::Encode)?;
    Ok(pipe.write_all(&bytes).await.is_ok())
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
