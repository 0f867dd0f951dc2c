//! `memmon-ebpf serve`

use std::process::ExitCode;

use super::{
    args::Serve,
    exit::{FAILED, Failure, NOT_PERMITTED},
    rights, systemd,
    watch::Ends,
};
use crate::{
    observe::Observation,
    server::{Access, Claim, Daemon, Socket, SocketError, Sources},
};

pub async fn main(args: &Serve) -> Result<ExitCode, Failure> {
    let Serve {
        scope,
        runtimes,
        observing,
        access: place,
    } = args;
    let known = runtimes.load()?;
    rights::to_observe()?;
    let access = place.access()?;
    let mut ends = Ends::new()?;
    // Before anything is attached: a second daemon leaves no trace.
    let claim = Claim::take(&place.socket).await?;
    let filter = scope.filter(runtimes);
    let options = observing.options(filter.clone());
    // The socket appears when everything is attached: who finds it gets true answers.
    let observation = Observation::start(options, known, observing.refresh())?;
    let daemon = Daemon::new(Sources::of(&observation, filter), place.show_commands);
    let result = match claim.listen(&access) {
        Ok(socket) => {
            announce(&socket, &access);
            tokio::select! {
                result = daemon.serve(socket, ends.wait()) => result.map_err(|error| Failure::of(&error)),
                () = systemd::keep_alive(&daemon) => Ok(()),
            }
        }
        Err(error) => Err(error.into()),
    };
    systemd::stopping();
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

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        let code = match &error {
            SocketError::Group { cause, .. }
                if cause.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                NOT_PERMITTED
            }
            _ => FAILED,
        };
        Self::with(code, error.to_string())
    }
}
