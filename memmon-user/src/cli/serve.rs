//! `memmon-ebpf serve`

use std::process::ExitCode;

use super::{args::Serve, exit::Failure, rights, tracy, watch::Ends};
use crate::{observe::Observation, server};

pub async fn main(args: &Serve) -> Result<ExitCode, Failure> {
    let Serve {
        scope,
        runtimes,
        observing,
        tracy,
        socket,
    } = args;
    let known = runtimes.load()?;
    rights::to_observe()?;
    let mut ends = Ends::new()?;
    let listener = tracy::bind(tracy).await?;
    let options = observing.options(scope.filter(runtimes));
    // The socket appears when everything is attached: who finds it gets true answers.
    let observation = Observation::start(options, known, observing.refresh())?;
    let feeding = tracy::Feeding::start(
        listener,
        || tracy::source(&observation, scope.filter(runtimes), observing.refresh()),
        tracy::Say::AtOnce,
    );
    let result = server::serve(socket, observation.requests.clone(), ends.wait()).await;
    feeding.stop().await;
    observation.stop();
    result.map_err(|error| Failure::of(&error))?;
    Ok(ExitCode::SUCCESS)
}
