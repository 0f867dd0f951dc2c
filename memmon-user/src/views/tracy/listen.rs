//! Waits for profilers.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{
    connection,
    handshake::{self, Greeting, Refusal},
    launch::Launcher,
};
use crate::tables::{Filter, Follower};

/// What profilers are told, and how often it is summed up.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where one follows the observation.
    pub follows: mpsc::Sender<oneshot::Sender<Follower>>,
    pub filter: Filter,
    pub refresh: Duration,
}

/// Profilers that are served at a time.
const MOST: usize = 4;

/// Connections, with those that have not yet said what they are.
const MOST_UNHEARD: usize = 64;

/// What is under way when memmon ends may take this long to arrive.
const FAREWELL: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "this build has no Tracy in it: build memmon with the cargo feature `tracy` (it is on by default)"
    )]
    NotBuilt,
    #[error(
        "cannot listen for Tracy on {address}: {error}; another traced program may have the port: name another one with --tracy-listen"
    )]
    Bind {
        address: SocketAddr,
        error: io::Error,
    },
    #[error("cannot start the thread that starts Tracy's clients: {0}")]
    Launcher(#[source] io::Error),
}

/// A socket that profilers may connect to.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        if !super::is_built_in() {
            return Err(ListenError::NotBuilt);
        }
        let socket = TcpListener::bind(address)
            .await
            .map_err(|error| ListenError::Bind { address, error })?;
        Ok(Self { socket })
    }

    /// Serves whoever connects. The calling thread still has the rights that shutting a client away
    /// takes; it may give them up then.
    pub fn serve(self, source: Source) -> Result<Tracy, ListenError> {
        let launcher = Launcher::start().map_err(ListenError::Launcher)?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(self.socket, launcher, source, stopped));
        Ok(Tracy { stop, task })
    }
}

/// Profilers are being served.
#[derive(Debug)]
pub struct Tracy {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Tracy {
    /// Tells connected profilers what is still to be told, and that this was all.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if timeout(FAREWELL, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn accept(
    socket: TcpListener,
    launcher: Launcher,
    source: Source,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, as a rule: others end, and then there are some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if connections.len() >= MOST_UNHEARD {
            continue;
        }
        let (source, stopped) = (source.clone(), stopped.clone());
        let (places, launcher) = (places.clone(), launcher.clone());
        connections.spawn(async move {
            welcome(stream, &places, &launcher, &source, stopped).await;
        });
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

/// One connection from its first byte to its end.
async fn welcome(
    mut stream: TcpStream,
    places: &Semaphore,
    launcher: &Launcher,
    source: &Source,
    stopped: watch::Receiver<bool>,
) {
    let refusal = match handshake::read(&mut stream).await {
        Greeting::Stranger => return,
        Greeting::Version(handshake::PROTOCOL) => match places.try_acquire() {
            Ok(_place) => {
                if let Err(error) = connection::serve(stream, launcher, source, stopped).await {
                    log::warn!("a Tracy profiler was connected, but {error}");
                }
                return;
            }
            Err(_) => {
                log::warn!("a Tracy profiler was refused: {MOST} are connected already");
                Refusal::NotAvailable
            }
        },
        Greeting::Version(version) => {
            log::warn!(
                "a Tracy profiler of protocol {version} was refused: memmon speaks {}, that of Tracy {}",
                handshake::PROTOCOL,
                handshake::RELEASES,
            );
            Refusal::ProtocolMismatch
        }
    };
    let _ = handshake::refuse(stream, refusal).await;
}
