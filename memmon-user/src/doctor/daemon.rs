//! Whether a daemon answers, and whose it is.

use std::{io, path::Path, sync::Arc, time::Duration};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::{net::UnixStream, time::timeout};

use super::{Area, Check, State};
use crate::{
    server::{Client, ClientError},
    tables::{Filter, snapshot::Snapshot},
};

const AREA: Area = Area::Found;
const NAME: &str = "daemon";
const PATIENCE: Duration = Duration::from_secs(5);

pub enum Daemon {
    Answers {
        uid: Option<u32>,
        snapshot: Arc<Snapshot>,
    },
    /// There is no socket.
    None,
    /// There is one, but nobody listens.
    Stale,
    /// There is one, but not for this user.
    Closed,
    /// Somebody listens, but there is no asking them.
    Strange(String),
}

pub async fn ask(socket: &Path) -> Daemon {
    let uid = match UnixStream::connect(socket).await {
        Ok(stream) => getsockopt(&stream, PeerCredentials)
            .ok()
            .map(|peer| peer.uid()),
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => Daemon::None,
                io::ErrorKind::ConnectionRefused => Daemon::Stale,
                io::ErrorKind::PermissionDenied => Daemon::Closed,
                _ => Daemon::Strange(error.to_string()),
            };
        }
    };
    match timeout(PATIENCE, snapshot(socket)).await {
        Ok(Ok(snapshot)) => Daemon::Answers { uid, snapshot },
        Ok(Err(error)) => Daemon::Strange(error.to_string()),
        Err(_) => Daemon::Strange(format!("no answer within {} seconds", PATIENCE.as_secs())),
    }
}

async fn snapshot(socket: &Path) -> Result<Arc<Snapshot>, ClientError> {
    let client = Client::connect(socket, Duration::ZERO).await?;
    client.snapshot(Filter::default()).await
}

impl Daemon {
    /// What it knows, where it answers.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Answers { snapshot, .. } => Some(snapshot),
            _ => None,
        }
    }

    pub fn check(&self, socket: &Path) -> Check {
        let path = socket.display();
        match self {
            Self::Answers { uid, snapshot } => {
                let observer = &snapshot.observer;
                let whose = match uid {
                    Some(0) => "root".to_owned(),
                    Some(uid) => format!("user {uid}"),
                    None => "an unknown user".to_owned(),
                };
                AREA.ok(
                    NAME,
                    format!(
                        "{} of {whose} answers on {path}, since {}, scope {}",
                        observer.version, observer.started_at, observer.scope
                    ),
                )
            }
            Self::None => AREA.ok(NAME, format!("none on {path}: memmon observes by itself")),
            Self::Stale => AREA.finds(
                NAME,
                State::Limited,
                format!("nobody listens on {path}, which a daemon left behind"),
                "start one with `sudo memmon-ebpf serve`: it takes the socket over",
            ),
            Self::Closed => AREA.finds(
                NAME,
                State::Limited,
                format!("this user may not ask the one on {path}"),
                "ask as root, or have an administrator let you: `ls -l` of the socket says whom it is for",
            ),
            Self::Strange(problem) => AREA.finds(
                NAME,
                State::Limited,
                format!("there is no asking the one on {path}: {problem}"),
                "use the same version of both, or another --socket",
            ),
        }
    }
}
