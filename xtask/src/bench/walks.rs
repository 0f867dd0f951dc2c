//! What walking through processes' memory takes: `-q` without a daemon, attaching to what runs
//! already, audits, and looks without probes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{median, observers::Programs, subject::Subject, usage::Usage};
use crate::shell::{capture, step};

/// Makes one process of a kind.
type Maker<'a> = &'a dyn Fn() -> Result<Subject>;

pub fn measure(
    programs: &Programs,
    kinds: &[(&str, Maker<'_>)],
    counts: &[usize],
    rounds: u32,
) -> Result<()> {
    step("walking");
    println!(
        "{:<28} {:>9} {:>9} {:>12} {:>12} {:>12} {:>12} {:>13}",
        "",
        "processes",
        "buffers",
        "-q, ms",
        "attach, ms",
        "audit, ms",
        "a row, µs",
        "--sample, ms"
    );
    for (name, make) in kinds {
        let mut subjects = Vec::new();
        for count in counts {
            while subjects.len() < *count {
                subjects.push(make()?);
            }
            let pids: Vec<String> = subjects
                .iter()
                .map(|subject: &Subject| subject.pid().to_string())
                .collect();
            one(programs, name, &pids.join(","), subjects.len(), rounds)?;
        }
        for subject in subjects {
            subject.end()?;
        }
    }
    Ok(())
}

fn one(programs: &Programs, name: &str, pids: &str, count: usize, rounds: u32) -> Result<()> {
    let (mut looks, mut attached, mut audits, mut rows) = (vec![], vec![], vec![], vec![]);
    let mut samples = Vec::new();
    let mut buffers = 0;
    for _ in 0..rounds {
        let begun = Instant::now();
        let text = capture(
            Command::new(&programs.memmon)
                // Nobody's socket: what it does by itself is measured.
                .args(["-q", "--format", "json", "-p", pids]),
        )?;
        looks.push(milliseconds(begun.elapsed()));
        let snapshot: Value = serde_json::from_str(&text).context("the snapshot is no JSON")?;
        buffers = live(&snapshot);
        let (daemon, took) = programs.memmon(&["-p", pids, "--audit", "0"])?;
        attached.push(milliseconds(took));
        let report = audit(&programs.memmon, daemon.socket())?;
        let nanoseconds = report["took_ns"].as_f64().unwrap_or_default();
        let compared = report["rows"].as_array().map_or(0, Vec::len);
        audits.push(nanoseconds / 1e6);
        rows.push(nanoseconds / 1e3 / compared.max(1) as f64);
        daemon.end()?;
        samples.push(sample(programs, pids)?);
    }
    println!(
        "{name:<28} {count:>9} {buffers:>9} {:>12.1} {:>12.1} {:>12.2} {:>12.1} {:>13.2}",
        median(&looks),
        median(&attached),
        median(&audits),
        median(&rows),
        median(&samples)
    );
    Ok(())
}

/// Milliseconds of a processor that a look takes where no probe is placed.
fn sample(programs: &Programs, pids: &str) -> Result<f64> {
    const LOOKS: u32 = 10;
    let (daemon, _) = programs.memmon(&["-p", pids, "--sample"])?;
    daemon.snapshot(&programs.memmon)?;
    let before = Usage::of(daemon.pid())?;
    for _ in 0..LOOKS {
        daemon.snapshot(&programs.memmon)?;
    }
    let used = Usage::of(daemon.pid())?.since(before);
    daemon.end()?;
    Ok(used.processor_ns as f64 / 1e6 / f64::from(LOOKS))
}

fn audit(memmon: &PathBuf, socket: &Path) -> Result<Value> {
    let text = capture(
        Command::new(memmon)
            .args(["audit", "--format", "json", "--socket"])
            .arg(socket),
    )?;
    serde_json::from_str(&text).context("the report is no JSON")
}

/// Live allocations on the first device of each process.
fn live(snapshot: &Value) -> u64 {
    let processes = snapshot["processes"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    processes
        .iter()
        .flat_map(|process| process["usage"].as_array().map_or(&[][..], Vec::as_slice))
        .filter(|row| row["device"] == 0)
        .filter_map(|row| row["live_allocations"].as_u64())
        .sum()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
