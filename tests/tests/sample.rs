//! `--sample`: no probe is placed, and every snapshot has the allocators' own numbers.

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::Snapshot;
use memmon_tests::{
    check::{agrees, running},
    fixture::{Fault, Fixture, Layout, number},
    lab::{self, Workload},
    memmon::{Daemon, charged, run, usage},
};

const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];

fn nothing_was_probed(snapshot: &Snapshot) -> Result<()> {
    ensure!(snapshot.libraries.iter().all(|library| library.probes == 0));
    assert_eq!(snapshot.health.events, 0);
    ensure!(
        snapshot
            .health
            .notes
            .iter()
            .any(|note| note.starts_with("sampled"))
    );
    Ok(())
}

#[test]
fn every_step_of_the_double() -> Result<()> {
    for layout in BOTH {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        let pid = driver.pid();
        let daemon = Daemon::start(&["-p", &pid.to_string(), "--sample"])?;
        let mut most = 0;
        for step in [
            "open chips 2 l1_small 16384 trace 1048576",
            "alloc a DRAM 2097152 2048",
            "alloc b L1 32768 4096 shards 8",
            "leak 100 8192",
            "free a",
            "burst 1000 threads 2",
            "oom",
            "freeall",
            "close",
            "reopen",
            "leak 5 4096",
        ] {
            let answer = driver.ask(step)?;
            let snapshot = agrees(&daemon, &answer).with_context(|| step.to_owned())?;
            nothing_was_probed(&snapshot)?;
            most = most.max(number(&answer, "truth", 0, "DRAM"));
            if let Some(row) = usage(&snapshot, pid, 0, "DRAM") {
                // What was seen, at each step; nothing is counted.
                assert_eq!(row.peak_charged_bytes, Some(most), "{step}");
                assert_eq!((row.allocations, row.frees), (None, None));
            }
        }
        let pid = driver.pid();
        driver.ask("kill9").err();
        let held = daemon.wait_for("its end", |snapshot| {
            let process = snapshot
                .processes
                .iter()
                .find(|process| process.pid == pid)?;
            (process.state == "exited").then(|| charged(snapshot, pid, 0, "DRAM"))
        })?;
        ensure!(held > Some(0), "what it held last: {held:?}");
    }
    Ok(())
}

/// Processes that come later are found, too; those that ask for what there is not are told so.
#[test]
fn who_comes_later() -> Result<()> {
    let daemon = Daemon::start(&["--sample"])?;
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let answer = driver.ask("leak 7 8192")?;
    let snapshot = agrees(&daemon, &answer)?;
    assert_eq!(
        running(&snapshot, driver.pid()).context("it")?.since,
        "recovered"
    );
    let socket = daemon.socket();
    let socket = socket.to_str().context("a plain path")?;
    let output = run(&["audit", "--socket", socket])?;
    assert_eq!(output.status.code(), Some(1));
    let output = run(&["--sample", "--socket", socket])?;
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}

#[test]
fn every_step_of_the_real_runtime() -> Result<()> {
    for version in lab::versions()? {
        let mut workload = Workload::start(&version, "workload.py", &[])?;
        let daemon = Daemon::start(&["-p", &workload.pid().to_string(), "--sample"])?;
        let mut steps = 0;
        while let Some(step) = workload.step()? {
            let snapshot = daemon.snapshot()?;
            for (chip, pools) in &step.truth {
                for (pool, truth) in pools {
                    assert_eq!(
                        charged(&snapshot, step.pid, *chip, pool),
                        Some(*truth),
                        "{version}, step {}, {pool}",
                        step.name
                    );
                }
            }
            steps += 1;
        }
        ensure!(steps > 5, "{steps} steps");
    }
    Ok(())
}

/// Whoever pays much for being observed is told that there is another way.
#[test]
fn a_busy_process_is_told_of_it() -> Result<()> {
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let pid = driver.pid();
    let daemon = Daemon::start(&["-p", &pid.to_string()])?;
    let said = |snapshot: &Snapshot| {
        let own = format!("pid {pid} ");
        let mut notes = snapshot.health.notes.iter();
        notes.any(|note| note.starts_with(&own) && note.contains("`--sample` observes without"))
    };
    ensure!(!said(&daemon.snapshot()?), "it has done nothing yet");
    driver.tell("burst 3000000")?;
    daemon.wait_for("the note", |snapshot| said(snapshot).then_some(()))?;
    let answer = driver.answer()?;
    assert_eq!(answer["ok"], true, "{answer}");
    daemon.wait_for("no note", |snapshot| (!said(snapshot)).then_some(()))?;
    Ok(())
}
