//! `memmon-ebpf -q`: one snapshot.

use std::{path::Path, process::ExitCode, time::Instant};

use super::{
    args::{Common, DEFAULT_SOCKET, Watch},
    exit::{Failure, NOTHING},
    rights,
};
use crate::{
    observe::{self, Runtimes},
    server::{Client, ClientError},
    tables::snapshot::Snapshot,
    target::{identity, maps},
    views::{output, snapshot},
};

pub async fn main(common: &Common, watch: &Watch) -> Result<ExitCode, Failure> {
    let runtimes = load_runtimes(common)?;
    // Said before anything about permission.
    check_pids(common)?;
    let snapshot = match ask_daemon(common).await? {
        Some(snapshot) => snapshot,
        None => look(common, &runtimes)?,
    };
    check_devices(common, &snapshot)?;
    check_found(common, &snapshot)?;
    let options = snapshot::Options::default();
    let text = snapshot::render(&snapshot, watch.format.unwrap_or_default(), &options)
        .map_err(|error| Failure::of(&error))?;
    let _ =
        output::write_whole(watch.output.as_deref(), &text).map_err(|error| Failure::of(&error))?;
    Ok(ExitCode::SUCCESS)
}

pub fn load_runtimes(common: &Common) -> Result<Runtimes, Failure> {
    Runtimes::load(&common.profiles, &common.runtimes).map_err(Failure::new)
}

/// Every `--pid` must be there.
pub fn check_pids(common: &Common) -> Result<(), Failure> {
    for pid in &common.pids {
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
pub async fn daemon(common: &Common) -> Result<Option<Client>, Failure> {
    match &common.socket {
        Some(path) => Client::connect(path, common.wait())
            .await
            .map(Some)
            .map_err(|error| Failure::of(&error)),
        None => Ok(
            Client::connect(Path::new(DEFAULT_SOCKET), std::time::Duration::ZERO)
                .await
                .ok(),
        ),
    }
}

async fn ask_daemon(common: &Common) -> Result<Option<Snapshot>, Failure> {
    let Some(client) = daemon(common).await? else {
        return Ok(None);
    };
    match client.snapshot(common.filter()).await {
        Ok(snapshot) => Ok(Some(snapshot)),
        // It went while we asked.
        Err(ClientError::Ended) if common.socket.is_none() => Ok(None),
        Err(error) => Err(Failure::of(&error)),
    }
}

fn look(common: &Common, runtimes: &Runtimes) -> Result<Snapshot, Failure> {
    rights::to_look()?;
    let until = Instant::now() + common.wait();
    loop {
        let snapshot = observe::query(&common.options(), runtimes);
        let complete = common
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
fn check_found(common: &Common, snapshot: &Snapshot) -> Result<(), Failure> {
    for pid in &common.pids {
        if !snapshot.processes.iter().any(|process| process.pid == *pid)
            && (!common.devices.is_empty() || maps_no_runtime(common, *pid))
        {
            return Err(no_runtime(*pid));
        }
    }
    Ok(())
}

fn maps_no_runtime(common: &Common, pid: u32) -> bool {
    let Ok(runtimes) = load_runtimes(common) else {
        return true;
    };
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
fn check_devices(common: &Common, snapshot: &Snapshot) -> Result<(), Failure> {
    for wanted in &common.devices {
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
