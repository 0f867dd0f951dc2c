//! The daemon's side. Every client has a task of its own; one that is slow, silent or gone costs
//! itself only.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{Answer, Ask, LONGEST_ASK, PROTOCOL, Wish};
use crate::{
    observe::Request,
    tables::{Filter, snapshot::Snapshot},
};

/// How long a client may take to ask, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
const FASTEST: Duration = Duration::from_millis(100);
/// Everybody may connect; what they see of others depends on who they are.
const MODE: u32 = 0o666;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("a daemon is listening on {} already; ask it, or choose another --socket", .0.display())]
    Running(PathBuf),
    #[error("{} is there and is no socket; choose another --socket", .0.display())]
    NoSocket(PathBuf),
    #[error("cannot listen on {}: {cause}; choose another --socket, in a directory that you can write to", .path.display())]
    Unusable { path: PathBuf, cause: io::Error },
}

/// The socket file, which goes when the daemon does.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens until `stop` resolves.
pub async fn serve(
    path: &Path,
    requests: mpsc::Sender<Request>,
    stop: impl Future<Output = ()>,
) -> Result<(), ListenError> {
    let unusable = |cause| ListenError::Unusable {
        path: path.to_owned(),
        cause,
    };
    clear_stale(path).await?;
    let listener = UnixListener::bind(path).map_err(unusable)?;
    let _file = SocketFile(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(unusable)?;
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            client = listener.accept() => match client {
                Ok((stream, _)) => {
                    tokio::spawn(client_task(stream, requests.clone()));
                }
                // Out of descriptors: others will be given back.
                Err(_) => tokio::time::sleep(FASTEST).await,
            }
        }
    }
}

/// A socket that nobody listens on was left by a daemon that was killed.
async fn clear_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !meta.file_type().is_socket() {
        return Err(ListenError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::Running(path.to_owned())),
        Err(_) => fs::remove_file(path).map_err(|cause| ListenError::Unusable {
            path: path.to_owned(),
            cause,
        }),
    }
}

async fn client_task(stream: UnixStream, requests: mpsc::Sender<Request>) {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let mut codec = LengthDelimitedCodec::new();
    codec.set_max_frame_length(LONGEST_ASK);
    let mut frames = Framed::new(stream, codec);
    let Ok(Some(Ok(message))) = timeout(PATIENCE, frames.next()).await else {
        return;
    };
    frames
        .codec_mut()
        .set_max_frame_length(super::LONGEST_ANSWER);
    let ask: Ask = match serde_json::from_slice(&message) {
        Ok(ask) => ask,
        Err(error) => {
            let _ = send(
                &mut frames,
                &Answer::Error(format!("not understood: {error}")),
            )
            .await;
            return;
        }
    };
    if ask.protocol != PROTOCOL {
        let text = format!(
            "this daemon speaks protocol {PROTOCOL}, the client {}; use the same version of both",
            ask.protocol
        );
        let _ = send(&mut frames, &Answer::Error(text)).await;
        return;
    }
    match ask.wish {
        Wish::Snapshot => {
            if let Some(snapshot) = snapshot(&requests, &ask.filter, uid).await {
                let _ = send(&mut frames, &Answer::Snapshot(Box::new(snapshot))).await;
            }
        }
        Wish::Watch { refresh_ms } => {
            let mut timer = interval(Duration::from_millis(refresh_ms).max(FASTEST));
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = timer.tick() => {}
                    // It has nothing more to say: it left, or does not keep to the protocol.
                    _ = frames.next() => return,
                }
                let Some(snapshot) = snapshot(&requests, &ask.filter, uid).await else {
                    return;
                };
                if !send(&mut frames, &Answer::Snapshot(Box::new(snapshot))).await {
                    return;
                }
            }
        }
    }
}

async fn snapshot(
    requests: &mpsc::Sender<Request>,
    filter: &Filter,
    uid: Option<u32>,
) -> Option<Snapshot> {
    let (reply, answer) = oneshot::channel();
    let request = Request {
        filter: filter.clone(),
        reply,
    };
    requests.send(request).await.ok()?;
    Some(for_user(answer.await.ok()?, uid))
}

/// Others' command lines may hold secrets: only root and their own user see them.
fn for_user(mut snapshot: Snapshot, uid: Option<u32>) -> Snapshot {
    if uid != Some(0) {
        for process in &mut snapshot.processes {
            if process.uid.is_none() || process.uid != uid {
                process.command.clear();
            }
        }
    }
    snapshot
}

async fn send(frames: &mut Framed<UnixStream, LengthDelimitedCodec>, answer: &Answer) -> bool {
    let Ok(text) = serde_json::to_vec(answer) else {
        return false;
    };
    matches!(
        timeout(PATIENCE, frames.send(Bytes::from(text))).await,
        Ok(Ok(()))
    )
}
