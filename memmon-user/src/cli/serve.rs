//! `memmon-ebpf serve`

use std::process::ExitCode;

use super::{args::Serve, exit::Failure, rights, systemd, tracy, watch::Ends};
use crate::{
    observe::{Observation, Options},
    server::{Access, Claim, Daemon, Socket, Sources, http},
};

pub async fn main(args: &Serve) -> Result<ExitCode, Failure> {
    let Serve {
        scope,
        runtimes,
        observing,
        access: place,
        tracy: profilers,
        metrics,
        sample,
    } = args;
    let known = runtimes.load()?;
    if *sample {
        rights::to_look()?;
    } else {
        rights::to_observe()?;
    }
    // Before anything is attached: whatever is taken already is an error at once.
    let access = place.access()?;
    let claim = Claim::take(&place.socket).await?;
    let scrapers = metrics.address.map(http::Listener::bind).transpose()?;
    let listener = tracy::bind(profilers).await?;
    let mut ends = Ends::new()?;
    let filter = scope.filter(runtimes);
    let options = Options {
        sample: *sample,
        ..observing.options(filter.clone())
    };
    let observation = Observation::start(options, known, observing.refresh())?;
    let tracy = tracy::start(
        listener,
        &observation,
        scope.filter(runtimes),
        observing.refresh(),
    )?;
    let scrapers = scrapers.map(|listener| {
        eprintln!(
            "memmon-ebpf: metrics at http://{}/metrics",
            listener.address
        );
        tokio::spawn(listener.serve(observation.requests.clone(), metrics.processes))
    });
    let daemon = Daemon::new(Sources::of(&observation, filter), place.show_commands);
    // The socket appears when everything is attached: who finds it gets true answers.
    let result = match claim.listen(&access) {
        Ok(socket) => {
            // Everything is open. The socket is removed at the end.
            rights::keep_to_write([place.socket.as_path()])?;
            announce(&socket, &access);
            tokio::select! {
                result = daemon.serve(socket, ends.wait()) => result.map_err(Failure::from),
                () = systemd::keep_alive(&daemon) => Ok(()),
            }
        }
        Err(error) => Err(error.into()),
    };
    systemd::stopping();
    if let Some(task) = scrapers {
        task.abort();
    }
    tracy::stop(tracy).await;
    observation.stop();
    result.map(|()| ExitCode::SUCCESS)
}

fn announce(socket: &Socket, Access { mode, group }: &Access) {
    let whose = match group {
        Some((name, _)) => format!(", group {name}"),
        None => String::new(),
    };
    let text = format!(
        "listening on {} (mode {mode:04o}{whose})",
        socket.path().display()
    );
    eprintln!("memmon-ebpf: {text}");
    systemd::ready(&text);
}
