//! The client's side.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::{
    protocol::{Answer, Ask, LONGEST_ANSWER, Wish, codec, frame},
    remote,
    watching::{self, Watching},
};
use crate::tables::{
    Batch, Filter, Follower,
    audit::Report,
    live::{LiveAsk, LiveList},
    snapshot::Snapshot,
};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers on {} ({cause}); start one with `memmon-ebpf serve`, or leave --socket out", .path.display())]
    NoDaemon { path: PathBuf, cause: io::Error },
    #[error("not permitted to ask the daemon on {}: {}; ask as root, or have an administrator let you", .path.display(), who_may(.path))]
    NotPermitted { path: PathBuf },
    #[error("the daemon ended the connection")]
    Ended,
    #[error("the daemon does not answer")]
    Silent,
    #[error("the daemon refused: {0}")]
    Refused(String),
    #[error("the daemon's answer is not understood ({0}); use the same version of both")]
    Strange(String),
}

impl ClientError {
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::NotPermitted { .. })
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    answers: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    asks: OwnedWriteHalf,
}

impl Client {
    /// Connects, trying again for as long as `wait`.
    pub async fn connect(path: &Path, wait: Duration) -> Result<Self, ClientError> {
        let until = Instant::now() + wait;
        loop {
            match UnixStream::connect(path).await {
                Ok(stream) => {
                    let (answers, asks) = stream.into_split();
                    return Ok(Self {
                        path: path.to_owned(),
                        answers: FramedRead::new(answers, codec(LONGEST_ANSWER)),
                        asks,
                    });
                }
                Err(cause) if Instant::now() >= until => {
                    let path = path.to_owned();
                    return Err(match cause.kind() {
                        io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path },
                        _ => ClientError::NoDaemon { path, cause },
                    });
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub async fn snapshot(mut self, filter: Filter) -> Result<Arc<Snapshot>, ClientError> {
        self.ask(Wish::Snapshot, filter).await?;
        self.next_snapshot().await
    }

    /// Snapshots as they come, from this daemon and from those after it on the same socket, at a
    /// pace that may change.
    pub async fn watch(
        self,
        filter: Filter,
        pace: watch::Receiver<Duration>,
    ) -> Result<Watching, ClientError> {
        watching::watch(self, filter, pace).await
    }

    /// The live allocations; none where too many ask at this moment.
    pub async fn live(&mut self, ask: LiveAsk) -> Result<Option<LiveList>, ClientError> {
        self.ask(Wish::Live(ask), Filter::default()).await?;
        match self.next().await? {
            Answer::Live(list) => Ok(list),
            _ => Err(unasked()),
        }
    }

    /// The rows of these processes, or of all, compared with the allocators' own numbers; none
    /// where too many ask at this moment.
    pub async fn audit(&mut self, pids: Vec<u32>) -> Result<Option<Report>, ClientError> {
        self.ask(Wish::Audit { pids }, Filter::default()).await?;
        match self.next().await? {
            Answer::Audit(report) => Ok(report),
            _ => Err(unasked()),
        }
    }

    /// The whole state and everything that is told from then on, by this daemon and by those after
    /// it on the same socket.
    pub async fn follow(self) -> Result<Follower, ClientError> {
        remote::follow(self).await
    }

    pub(super) async fn begin_to_follow(&mut self) -> Result<Arc<Batch>, ClientError> {
        self.ask(Wish::Follow, Filter::default()).await?;
        self.next_batch().await
    }

    pub(super) async fn next_batch(&mut self) -> Result<Arc<Batch>, ClientError> {
        match self.next().await? {
            Answer::Batch(batch) => Ok(batch),
            _ => Err(unasked()),
        }
    }

    pub(super) async fn ask(&mut self, wish: Wish, filter: Filter) -> Result<(), ClientError> {
        let ask = Ask::new(wish, filter);
        let frame = frame(&ask).map_err(|error| ClientError::Strange(error.to_string()))?;
        // A daemon that refuses whoever connects may have gone already; what it said is read next.
        let _ = self.asks.write_all(&frame).await;
        Ok(())
    }

    pub(super) async fn next(&mut self) -> Result<Answer, ClientError> {
        let message = match self.answers.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(ClientError::Ended);
            }
            Some(Err(error)) => return Err(ClientError::Strange(error.to_string())),
            None => return Err(ClientError::Ended),
        };
        match serde_json::from_slice(&message) {
            Ok(Answer::Error(text)) => Err(ClientError::Refused(text)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(ClientError::Strange(error.to_string())),
        }
    }

    pub(super) async fn next_snapshot(&mut self) -> Result<Arc<Snapshot>, ClientError> {
        match self.next().await? {
            Answer::Snapshot(snapshot) => Ok(snapshot),
            _ => Err(unasked()),
        }
    }
}

fn unasked() -> ClientError {
    ClientError::Strange("it is no answer to what was asked".to_owned())
}

/// Whom the socket's file lets in, in words.
fn who_may(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(meta) = std::fs::metadata(path) else {
        return "its directory is closed to you".to_owned();
    };
    if meta.mode() & 0o020 == 0 {
        return "it is for its owner only".to_owned();
    }
    let group = nix::unistd::Group::from_gid(meta.gid().into());
    let name = group.ok().flatten().map(|group| group.name);
    format!(
        "it is for the group {}",
        name.unwrap_or_else(|| meta.gid().to_string())
    )
}
