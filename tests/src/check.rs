//! memmon's numbers against the driver's own.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::{Process, Snapshot, Usage};
use serde_json::Value;

use crate::{
    fixture::number,
    memmon::{Daemon, process},
};

/// The pools that the driver has a truth about.
pub const POOLS: [&str; 4] = ["DRAM", "L1", "L1_SMALL", "TRACE"];

/// The process that runs under this pid, not one before it.
pub fn running(snapshot: &Snapshot, pid: u32) -> Option<&Process> {
    snapshot
        .processes
        .iter()
        .find(|process| process.pid == pid && process.state == "running")
}

/// The pid of an answer.
pub fn pid(answer: &Value) -> u32 {
    answer["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .unwrap_or_default()
}

fn rows<'a>(usage: &'a [Usage], chip: u32, pool: &str) -> Vec<&'a Usage> {
    usage
        .iter()
        .filter(|row| row.device == Some(i64::from(chip)) && row.pool == pool)
        .collect()
}

/// The chips of an answer, and those that memmon has rows of.
fn chips(answer: &Value, usage: &[Usage]) -> BTreeSet<u32> {
    let told = answer["truth"].as_object().into_iter().flatten();
    told.filter_map(|(chip, _)| chip.parse().ok())
        .chain(
            usage
                .iter()
                .filter_map(|row| u32::try_from(row.device?).ok()),
        )
        .collect()
}

/// Charged, requested and live of every chip and pool are the driver's, and said to be exact.
pub fn holds(process: &Process, answer: &Value) -> Result<()> {
    let Some(usage) = &process.usage else {
        anyhow::bail!("the usage of {} is not known", process.pid);
    };
    for row in usage {
        ensure!(row.device.is_some(), "a row without a device: {row:?}");
    }
    for chip in chips(answer, usage) {
        for pool in POOLS {
            let rows = rows(usage, chip, pool);
            ensure!(rows.len() <= 1, "two rows of one pool: {rows:?}");
            let row = rows.first();
            ensure!(
                row.is_none_or(|row| row.exact),
                "chip {chip} {pool} is not exact: {row:?}"
            );
            let seen = |what: fn(&Usage) -> Option<u64>| row.map_or(Some(0), |row| what(row));
            for (what, seen) in [
                ("truth", seen(|row| row.charged_bytes)),
                ("requested", seen(|row| row.requested_bytes)),
                ("live", seen(|row| row.live_allocations)),
            ] {
                let told = number(answer, what, chip, pool);
                ensure!(
                    seen == Some(told),
                    "pid {}, chip {chip}, {pool}, {what}: memmon says {seen:?}, the driver {told}; {usage:#?}",
                    process.pid
                );
            }
        }
    }
    Ok(())
}

/// Allocations, frees and failures, summed over the pools of each chip. For a process that always
/// had the same chips open, and that was seen from its start.
pub fn counts(process: &Process, answer: &Value) -> Result<()> {
    let usage = process.usage.as_deref().unwrap_or_default();
    let told = |what: &str| answer[what].as_u64().unwrap_or(u64::MAX);
    for chip in chips(answer, usage) {
        let sum = |what: fn(&Usage) -> Option<u64>| -> u64 {
            POOLS
                .iter()
                .flat_map(|pool| rows(usage, chip, pool))
                .map(|row| what(row).unwrap_or(u64::MAX))
                .sum()
        };
        let seen = (
            sum(|row| row.allocations),
            sum(|row| row.frees),
            sum(|row| row.failed_allocations),
        );
        let truth = (
            told("allocations"),
            told("frees") + told("bulk_frees"),
            told("failed"),
        );
        ensure!(
            seen == truth,
            "chip {chip}: allocations, frees and failures are {seen:?}, the driver's {truth:?}: {usage:#?}"
        );
    }
    Ok(())
}

/// The daemon's next snapshot has the numbers of this answer: it was asked after that was given.
pub fn agrees(daemon: &Daemon, answer: &Value) -> Result<Snapshot> {
    let snapshot = daemon.snapshot()?;
    let pid = pid(answer);
    let Some(process) = running(&snapshot, pid) else {
        anyhow::bail!("there is no {pid}: {snapshot:#?}");
    };
    holds(process, answer).with_context(|| {
        format!(
            "health {:?}, libraries {:#?}",
            snapshot.health, snapshot.libraries
        )
    })?;
    Ok(snapshot)
}

/// As [`agrees`], and what happened was counted from the start.
pub fn agrees_from_start(daemon: &Daemon, answer: &Value) -> Result<Snapshot> {
    let snapshot = agrees(daemon, answer)?;
    if let Some(process) = running(&snapshot, pid(answer)) {
        counts(process, answer)?;
        ensure!(
            process.since == "start" || process.usage.as_ref().is_none_or(Vec::is_empty),
            "it was there from the start, but is since {}",
            process.since
        );
    }
    Ok(snapshot)
}

/// Waits until the daemon shows the process, which must have a known library mapped.
pub fn acquainted(daemon: &Daemon, pid: u32) -> Result<()> {
    daemon.wait_for("the process", |snapshot| running(snapshot, pid).map(|_| ()))
}

/// The process, in whatever state; it must be there.
pub fn shown(snapshot: &Snapshot, pid: u32) -> Result<&Process> {
    match process(snapshot, pid) {
        Some(process) => Ok(process),
        None => anyhow::bail!("there is no {pid}: {snapshot:#?}"),
    }
}

/// Whatever is said of a process is true, or said to be uncertain: an exact number is the driver's,
/// and where something is missing nothing of the process is exact, or its past is said not to be known.
pub fn honest(snapshot: &Snapshot, answer: &Value) -> Result<()> {
    let Some(process) = running(snapshot, pid(answer)) else {
        anyhow::bail!("there is no {}: {snapshot:#?}", pid(answer));
    };
    let Some(usage) = &process.usage else {
        return Ok(());
    };
    for chip in chips(answer, usage) {
        for pool in POOLS {
            let told = number(answer, "truth", chip, pool);
            let rows = rows(usage, chip, pool);
            let right = match rows.first() {
                Some(row) => !row.exact || row.charged_bytes == Some(told),
                None => {
                    let doubtful = !usage.is_empty() || process.since == "attach";
                    told == 0 || (doubtful && usage.iter().all(|row| !row.exact))
                }
            };
            ensure!(right, "{pool} of chip {chip} is {told}: {usage:#?}");
        }
    }
    Ok(())
}

/// Whether everything said of the process is exact.
pub fn is_exact(snapshot: &Snapshot, pid: u32) -> bool {
    running(snapshot, pid)
        .and_then(|process| process.usage.as_ref())
        .is_some_and(|usage| usage.iter().all(|row| row.exact))
}
