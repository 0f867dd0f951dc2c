//! `memmon-ebpf serve`

use std::process::ExitCode;

use super::{args::Serve, exit::Failure, rights, watch::Ends};
use crate::{observe::Observation, server};

pub async fn main(args: &Serve) -> Result<ExitCode, Failure> {
    let Serve {
        scope,
        runtimes,
        observing,
        socket,
    } = args;
    let known = runtimes.load()?;
    rights::to_observe()?;
    let mut ends = Ends::new()?;
    let options = observing.options(scope.filter(runtimes));
    // The socket appears when everything is attached: who finds it gets true answers.
    let observation = Observation::start(options, known, observing.refresh())?;
    let result = server::serve(socket, observation.requests.clone(), ends.wait()).await;
    observation.stop();
    result?;
    Ok(ExitCode::SUCCESS)
}
