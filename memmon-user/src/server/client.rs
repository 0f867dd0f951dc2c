//! The client's side.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{net::UnixStream, sync::watch, time::sleep};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{Answer, Ask, LONGEST_ANSWER, PROTOCOL, Wish};
use crate::tables::{Filter, snapshot::Snapshot};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers on {} ({cause}); start one with `memmon-ebpf serve`, or leave --socket out", .path.display())]
    NoDaemon { path: PathBuf, cause: io::Error },
    #[error("the daemon ended the connection")]
    Ended,
    #[error("the daemon refused: {0}")]
    Refused(String),
    #[error("the daemon's answer is not understood ({0}); use the same version of both")]
    Strange(String),
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    frames: Framed<UnixStream, LengthDelimitedCodec>,
}

impl Client {
    /// Connects, trying again for as long as `wait`.
    pub async fn connect(path: &Path, wait: Duration) -> Result<Self, ClientError> {
        let until = Instant::now() + wait;
        loop {
            match UnixStream::connect(path).await {
                Ok(stream) => {
                    let mut codec = LengthDelimitedCodec::new();
                    codec.set_max_frame_length(LONGEST_ANSWER);
                    return Ok(Self {
                        frames: Framed::new(stream, codec),
                    });
                }
                Err(cause) if Instant::now() >= until => {
                    return Err(ClientError::NoDaemon {
                        path: path.to_owned(),
                        cause,
                    });
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub async fn snapshot(mut self, filter: Filter) -> Result<Snapshot, ClientError> {
        self.ask(Wish::Snapshot, filter).await?;
        self.next().await
    }

    /// Snapshots as they come; the channel closes when the daemon ends.
    pub async fn watch(
        mut self,
        filter: Filter,
        refresh: Duration,
    ) -> Result<watch::Receiver<Arc<Snapshot>>, ClientError> {
        let refresh_ms = u64::try_from(refresh.as_millis()).unwrap_or(u64::MAX);
        self.ask(Wish::Watch { refresh_ms }, filter).await?;
        let (sender, receiver) = watch::channel(Arc::new(self.next().await?));
        tokio::spawn(async move {
            while let Ok(snapshot) = self.next().await {
                if sender.send(Arc::new(snapshot)).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    async fn ask(&mut self, wish: Wish, filter: Filter) -> Result<(), ClientError> {
        let ask = Ask {
            protocol: PROTOCOL,
            wish,
            filter,
        };
        let text =
            serde_json::to_vec(&ask).map_err(|error| ClientError::Strange(error.to_string()))?;
        self.frames
            .send(Bytes::from(text))
            .await
            .map_err(|_| ClientError::Ended)
    }

    async fn next(&mut self) -> Result<Snapshot, ClientError> {
        let message = match self.frames.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(ClientError::Strange(error.to_string())),
            None => return Err(ClientError::Ended),
        };
        match serde_json::from_slice(&message) {
            Ok(Answer::Snapshot(snapshot)) => Ok(*snapshot),
            Ok(Answer::Error(text)) => Err(ClientError::Refused(text)),
            Err(error) => Err(ClientError::Strange(error.to_string())),
        }
    }
}
