//! `memmon-ebpf serve`

use std::{path::Path, process::ExitCode};

use super::{
    args::{Common, DEFAULT_SOCKET},
    exit::Failure,
    query, rights,
    watch::Ends,
};
use crate::{observe::Observation, server};

pub async fn main(common: &Common) -> Result<ExitCode, Failure> {
    let runtimes = query::load_runtimes(common)?;
    rights::to_observe()?;
    let mut ends = Ends::new()?;
    // The socket appears when everything is attached: who finds it gets true answers.
    let observation = Observation::start(common.options(), runtimes, common.refresh())?;
    let path = common
        .socket
        .as_deref()
        .unwrap_or_else(|| Path::new(DEFAULT_SOCKET));
    let result = server::serve(path, observation.requests.clone(), ends.wait()).await;
    observation.stop();
    result.map_err(|error| Failure::of(&error))?;
    Ok(ExitCode::SUCCESS)
}
