//! Targets whose memory is not what it should be: a walk through it ends soon, costs little, and
//! what it cannot know it does not say; and nobody else's numbers are the worse for it.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{acquainted, agrees, holds, honest, is_exact, running},
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{Daemon, query},
};
use serde_json::Value;

/// See `tests/fixture/lib/corrupt.cpp`.
const KINDS: [&str; 15] = [
    "cycle",
    "dangling-node",
    "dangling-buffer",
    "same-buffer",
    "count",
    "buckets",
    "vector",
    "backward-vector",
    "no-vector",
    "size",
    "manager",
    "free-list",
    "pool",
    "chips",
    "impl",
];

fn holding(layout: Layout) -> Result<Driver> {
    let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
    driver.ask("open chips 2")?;
    driver.ask("leak 20 8192")?;
    driver.ask("alloc b L1 32768 4096")?;
    Ok(driver)
}

fn peak_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("VmHWM")?.parse()?)
}

#[test]
fn asked_without_a_daemon() -> Result<()> {
    let mut slowest = (Duration::ZERO, "");
    for layout in [Layout::Inline, Layout::Pimpl] {
        let mut driver = holding(layout)?;
        let mut sound = holding(layout)?;
        let truth = sound.ask("report")?;
        let pids = format!("{},{}", driver.pid(), sound.pid());
        let held = driver.ask("report")?;
        let mut unknown = 0;
        for kind in KINDS {
            let context = || format!("{layout:?} {kind}");
            driver.ask(&format!("corrupt {kind}"))?;
            let start = Instant::now();
            let snapshot = query(&["-p", &pids])?;
            slowest = slowest.max((start.elapsed(), kind));
            honest(&snapshot, &held).with_context(context)?;
            unknown += u32::from(!is_exact(&snapshot, driver.pid()));
            holds(
                running(&snapshot, sound.pid()).context("the other")?,
                &truth,
            )
            .with_context(context)?;
            let answer = driver.ask("heal")?;
            let snapshot = query(&["-p", &pids])?;
            holds(running(&snapshot, driver.pid()).context("it")?, &answer)
                .with_context(context)?;
        }
        // What is spoilt on one way may be found on another.
        ensure!(unknown >= 12, "{unknown} are not known");
    }
    println!("the slowest: {slowest:?}");
    ensure!(slowest.0 < Duration::from_secs(10), "{slowest:?}");
    Ok(())
}

#[test]
fn met_by_a_daemon() -> Result<()> {
    for layout in [Layout::Inline, Layout::Pimpl] {
        let mut spoilt: Vec<(Driver, Value)> = Vec::new();
        for kind in KINDS {
            let mut driver = holding(layout)?;
            let held = driver.ask("report")?;
            driver.ask(&format!("corrupt {kind}"))?;
            spoilt.push((driver, held));
        }
        let mut sound = holding(layout)?;
        let start = Instant::now();
        let daemon = Daemon::start(&[])?;
        println!("{layout:?}: ready after {:?}", start.elapsed());
        acquainted(&daemon, sound.pid())?;
        agrees(&daemon, &sound.ask("report")?)?;
        let snapshot = daemon.snapshot()?;
        for (kind, (driver, held)) in KINDS.iter().zip(&mut spoilt) {
            let context = || format!("{layout:?} {kind}");
            honest(&snapshot, held).with_context(context)?;
            // And it goes on: what it does next is seen, whatever is known of its past.
            for step in ["heal", "leak 3 8192", "freeall"] {
                let answer = driver.ask(step)?;
                honest(&daemon.snapshot()?, &answer).with_context(context)?;
            }
        }
        agrees(&daemon, &sound.ask("leak 3 65536")?)?;
        let peak = peak_kib(daemon.pid())?;
        println!("{layout:?}: at most {peak} KiB resident");
        ensure!(peak < 256 * 1024, "{peak} KiB");
        for (driver, _) in spoilt {
            ensure!(driver.finish()?.success());
        }
    }
    Ok(())
}
