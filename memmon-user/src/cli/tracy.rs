//! `--tracy`, wherever it stands.

use tokio::sync::mpsc;

use super::{
    args::TracyArgs,
    exit::{self, Failure},
};
use crate::{
    observe::Observation,
    views::tracy::{Listener, Source, Tracy},
};

/// Whether the terminal is free to say something while others are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    AtOnce,
    AtTheEnd,
}

/// Profilers may connect, where that was asked for.
#[derive(Debug, Default)]
pub struct Feeding {
    tracy: Option<Tracy>,
    unsaid: Option<mpsc::Receiver<String>>,
}

/// Before anything is attached: a port that is taken is no reason to start.
pub async fn bind(args: &TracyArgs) -> Result<Option<Listener>, Failure> {
    match args.listen() {
        None => Ok(None),
        Some(address) => Listener::bind(address)
            .await
            .map(Some)
            .map_err(|error| Failure::of(&error)),
    }
}

/// Where it makes no sense.
pub fn none(args: &TracyArgs, why: &str) -> Result<(), Failure> {
    match args.listen() {
        None => Ok(()),
        Some(_) => Err(Failure::with(
            exit::USAGE,
            format!("no --tracy here: {why}"),
        )),
    }
}

impl Feeding {
    pub fn start(listener: Option<Listener>, source: impl FnOnce() -> Source, say: Say) -> Self {
        let Some(listener) = listener else {
            return Self::default();
        };
        let (notices, mut unsaid) = mpsc::channel(64);
        let tracy = Some(listener.serve(source(), notices));
        if say == Say::AtTheEnd {
            return Self {
                tracy,
                unsaid: Some(unsaid),
            };
        }
        tokio::spawn(async move {
            while let Some(notice) = unsaid.recv().await {
                eprintln!("memmon-ebpf: {notice}");
            }
        });
        Self {
            tracy,
            unsaid: None,
        }
    }

    /// Before the observation ends: connected profilers are told all of it.
    pub async fn stop(self) {
        if let Some(tracy) = self.tracy {
            tracy.stop().await;
        }
        let mut unsaid = self.unsaid;
        while let Some(Ok(notice)) = unsaid.as_mut().map(mpsc::Receiver::try_recv) {
            eprintln!("memmon-ebpf: {notice}");
        }
    }
}

pub fn source(
    observation: &Observation,
    filter: crate::tables::Filter,
    refresh: std::time::Duration,
) -> Source {
    Source {
        follows: observation.follows(),
        filter,
        refresh,
    }
}
