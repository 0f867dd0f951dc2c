//! How long memmon takes until it is attached to several libraries, and to let go of them.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use super::{median, parts::Bench, scratch, subject::Subject};

/// Processes, each with a library file of its own.
fn troupe(fixture: &Path, folder: &Path, copies: u32) -> Result<Vec<Subject>> {
    (0..copies)
        .map(|number| {
            let own = folder.join(number.to_string());
            std::fs::create_dir(&own)?;
            for name in ["fixture", "libtt_metal.so"] {
                std::fs::copy(fixture.join(name), own.join(name))
                    .with_context(|| format!("cannot copy {name} to {}", own.display()))?;
            }
            let mut subject =
                Subject::start(format!("copy {number}"), Command::new(own.join("fixture")))?;
            subject.ask("alloc a DRAM 1048576 2048")?;
            Ok(subject)
        })
        .collect()
}

pub fn measure(bench: Bench<'_>) -> Result<()> {
    println!();
    println!(
        "{:<44} {:>9} {:>9} {:>12} {:>12}",
        "", "libraries", "probes", "attach, ms", "quit, ms"
    );
    let new = ("one link a library (Linux 6.6)", &[][..], bench.rounds);
    // Without links for many probes, detaching takes so long that once must do.
    let old = (
        "one link a probe (as on Linux 5.15)",
        &["--assume-kernel", "5.15"][..],
        1,
    );
    with(bench, bench.copies, &[new, old])?;
    with(bench, 4 * bench.copies, &[new])
}

/// A name, words for memmon, and how often.
type Way<'a> = (&'a str, &'a [&'a str], u32);

fn with(bench: Bench<'_>, copies: u32, ways: &[Way<'_>]) -> Result<()> {
    let programs = bench.programs;
    let (_folder, path) = scratch()?;
    let subjects = troupe(&bench.fixture.join("pimpl"), &path, copies)?;
    let pids: Vec<String> = subjects
        .iter()
        .map(|subject| subject.pid().to_string())
        .collect();
    let pids = pids.join(",");
    for (name, words, rounds) in ways {
        let mut attach = Vec::new();
        let mut quit = Vec::new();
        let mut counts = (0, 0);
        for _ in 0..*rounds {
            // What else the machine runs is not part of it.
            let (daemon, took) = programs.memmon(&[&["--pid", &pids], *words].concat())?;
            attach.push(milliseconds(took));
            let snapshot = daemon.snapshot(&programs.memmon)?;
            let libraries = snapshot["libraries"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let probes = libraries.iter().filter_map(|row| row["probes"].as_u64());
            counts = (libraries.len(), probes.sum());
            if counts.0 != subjects.len() {
                bail!(
                    "memmon-ebpf found {} libraries of {}",
                    counts.0,
                    subjects.len()
                );
            }
            quit.push(milliseconds(daemon.end()?));
        }
        println!(
            "{name:<44} {:>9} {:>9} {:>12.0} {:>12.0}",
            counts.0,
            counts.1,
            median(&attach),
            median(&quit)
        );
    }
    for subject in subjects {
        subject.end()?;
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
