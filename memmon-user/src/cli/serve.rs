//! `memmon-ebpf serve`

use std::process::ExitCode;

use super::{args::Serve, exit::Failure, rights, tracy, watch::Ends};
use crate::{
    observe::Observation,
    server::{self, http},
};

pub async fn main(args: &Serve) -> Result<ExitCode, Failure> {
    let Serve {
        scope,
        runtimes,
        observing,
        tracy: profilers,
        socket,
        metrics,
    } = args;
    let known = runtimes.load()?;
    rights::to_observe()?;
    // Before anything is attached: a port that is taken is an error at once.
    let scrapers = metrics.address.map(http::Listener::bind).transpose()?;
    let listener = tracy::bind(profilers).await?;
    let mut ends = Ends::new()?;
    let options = observing.options(scope.filter(runtimes));
    // The socket appears when everything is attached: who finds it gets true answers.
    let observation = Observation::start(options, known, observing.refresh())?;
    let tracy = tracy::start(
        listener,
        &observation,
        scope.filter(runtimes),
        observing.refresh(),
    );
    let scrapers = scrapers.map(|listener| {
        eprintln!(
            "memmon-ebpf: metrics at http://{}/metrics",
            listener.address
        );
        tokio::spawn(listener.serve(observation.requests.clone(), metrics.processes))
    });
    let result = server::serve(socket, observation.requests.clone(), ends.wait()).await;
    if let Some(task) = scrapers {
        task.abort();
    }
    tracy::stop(tracy).await;
    observation.stop();
    result?;
    Ok(ExitCode::SUCCESS)
}
