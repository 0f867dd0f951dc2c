//! `memmon-ebpf -q`: one snapshot.

use std::{path::Path, process::ExitCode, sync::Arc, time::Instant};

use super::{
    args::{DEFAULT_SOCKET, Watch},
    exit::{Failure, NOTHING},
    rights, tracy,
};
use crate::{
    observe::{self, Runtimes},
    server::{Client, ClientError},
    tables::snapshot::Snapshot,
    target::{identity, maps},
    views::{output, snapshot},
};

pub async fn main(args: &Watch) -> Result<ExitCode, Failure> {
    let runtimes = args.runtimes.load()?;
    tracy::none(
        &args.tracy,
        "-q looks once and shows no profiler what happens",
    )?;
    // Said before anything about permission.
    check_pids(&args.scope.pids)?;
    let client = daemon(args).await?;
    rights::keep_to_look(args.output.file.as_deref())?;
    let snapshot = match ask_daemon(client, args).await? {
        Some(snapshot) => snapshot,
        None => look(args, &runtimes)?.into(),
    };
    check_devices(args, &snapshot)?;
    check_found(args, &runtimes, &snapshot)?;
    let options = snapshot::Options::default();
    let text = snapshot::render(&snapshot, args.output.format.unwrap_or_default(), &options)?;
    let _ = output::write_whole(args.output.file.as_deref(), &text)?;
    Ok(ExitCode::SUCCESS)
}

/// Every `--pid` must be there.
pub fn check_pids(pids: &[u32]) -> Result<(), Failure> {
    for pid in pids {
        if !identity::is_running(*pid) {
            return Err(Failure::with(
                NOTHING,
                format!(
                    "there is no process {pid}; see `memmon-ebpf -q` for those that hold memory"
                ),
            ));
        }
    }
    Ok(())
}

/// A client, where a daemon answers. An explicit `--socket` never falls back.
pub async fn daemon(args: &Watch) -> Result<Option<Client>, Failure> {
    let (path, wait) = match &args.socket {
        Some(path) => (path.as_path(), args.wait()),
        None => (Path::new(DEFAULT_SOCKET), std::time::Duration::ZERO),
    };
    match Client::connect(path, wait).await {
        Ok(client) => Ok(Some(client)),
        Err(ClientError::NoDaemon { .. }) if args.socket.is_none() => Ok(None),
        // It is there: whoever may not ask it is told so.
        Err(error) => Err(error.into()),
    }
}

async fn ask_daemon(
    client: Option<Client>,
    args: &Watch,
) -> Result<Option<Arc<Snapshot>>, Failure> {
    let Some(client) = client else {
        return Ok(None);
    };
    match client.snapshot(args.filter()).await {
        Ok(snapshot) => Ok(Some(snapshot)),
        // It went while we asked.
        Err(ClientError::Ended) if args.socket.is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn look(args: &Watch, runtimes: &Runtimes) -> Result<Snapshot, Failure> {
    rights::to_look()?;
    let until = Instant::now() + args.wait();
    loop {
        let snapshot = observe::query(&args.observing.options(args.filter()), runtimes);
        let complete = args
            .scope
            .pids
            .iter()
            .all(|pid| snapshot.processes.iter().any(|process| process.pid == *pid));
        if complete || Instant::now() >= until {
            return Ok(snapshot);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Every `--pid` must map a known runtime.
fn check_found(args: &Watch, runtimes: &Runtimes, snapshot: &Snapshot) -> Result<(), Failure> {
    for pid in &args.scope.pids {
        if !snapshot.processes.iter().any(|process| process.pid == *pid)
            && (!args.scope.devices.is_empty() || maps_no_runtime(runtimes, *pid))
        {
            return Err(no_runtime(*pid));
        }
    }
    Ok(())
}

pub fn maps_no_runtime(runtimes: &Runtimes, pid: u32) -> bool {
    maps::of_process(pid).is_ok_and(|regions| {
        !regions
            .iter()
            .any(|region| runtimes.wants(region.file_name()))
    })
}

pub fn no_runtime(pid: u32) -> Failure {
    Failure::with(
        NOTHING,
        format!(
            "process {pid} maps no runtime that is known; `memmon-ebpf profiles` lists them, --wait SECONDS waits for it"
        ),
    )
}

/// Every `--device` must be there.
fn check_devices(args: &Watch, snapshot: &Snapshot) -> Result<(), Failure> {
    for wanted in &args.scope.devices {
        let known = snapshot
            .devices
            .iter()
            .any(|device| device.device == Some(i64::from(*wanted)));
        if !known {
            return Err(Failure::with(
                NOTHING,
                format!(
                    "no process has a device {wanted} open; `memmon-ebpf -q` lists the devices in use"
                ),
            ));
        }
    }
    Ok(())
}
