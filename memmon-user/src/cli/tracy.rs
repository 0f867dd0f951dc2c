//! `--tracy`, wherever it stands.

use std::time::Duration;

use super::{
    args::TracyArgs,
    exit::{self, Failure},
};
use crate::{
    observe::Observation,
    tables::Filter,
    views::tracy::{Listener, Source, Tracy},
};

/// Before anything is attached: a port that is taken is an error at once.
pub async fn bind(args: &TracyArgs) -> Result<Option<Listener>, Failure> {
    match args.listen() {
        None => Ok(None),
        Some(address) => Ok(Some(Listener::bind(address).await?)),
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

/// From here on profilers are told what is observed. The calling thread still has its rights.
pub fn start(
    listener: Option<Listener>,
    observation: &Observation,
    filter: Filter,
    refresh: Duration,
) -> Result<Option<Tracy>, Failure> {
    let source = Source {
        follows: observation.follows(),
        filter,
        refresh,
    };
    Ok(listener
        .map(|listener| listener.serve(source))
        .transpose()?)
}

/// Before the observation ends: connected profilers are told all of it.
pub async fn stop(tracy: Option<Tracy>) {
    if let Some(tracy) = tracy {
        tracy.stop().await;
    }
}
