//! Connections: how many, how long, and who makes room.

use std::{collections::VecDeque, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{Address, BindError, answer::answer, scrape::Scrapes};
use crate::observe;

/// From connecting to the last byte of the answer.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// From connecting to the end of the request's headers.
const PATIENCE_TO_ASK: Duration = Duration::from_secs(5);
/// Connections at one time.
pub const MOST: usize = 64;
/// Bytes of a request's line and headers.
const LONGEST_HEAD: usize = 16 << 10;

/// A port that is taken, but not served yet: who connects meanwhile waits.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Listener {
    /// Must be called inside a tokio runtime.
    pub fn bind(Address(address): Address) -> Result<Self, BindError> {
        let failed = |cause| BindError { address, cause };
        let bound = std::net::TcpListener::bind(address).map_err(failed)?;
        bound.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            address: bound.local_addr().map_err(failed)?,
            listener: TcpListener::from_std(bound).map_err(failed)?,
        })
    }

    /// Answers for ever. `processes` have rows of their own at the most.
    pub async fn serve(self, requests: mpsc::Sender<observe::Request>, processes: usize) {
        let scrapes = Arc::new(Scrapes::new(requests, processes));
        let mut connections: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors: others will be given back.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            connections.retain(|connection| !connection.is_finished());
            // A scrape takes milliseconds: the oldest is one that does not get on.
            if connections.len() >= MOST
                && let Some(oldest) = connections.pop_front()
            {
                oldest.abort();
            }
            let task = tokio::spawn(connection(stream, scrapes.clone()));
            connections.push_back(task.abort_handle());
        }
    }
}

pub(super) async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, scrapes: Arc<Scrapes>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let scrapes = scrapes.clone();
        async move { Ok::<_, Infallible>(answer(request, &scrapes).await) }
    });
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE_TO_ASK)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever went wrong is the client's, and concerns nobody else.
    let _ = timeout(PATIENCE, exchange).await;
}
