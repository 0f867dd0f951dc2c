//! Tables and rings that are too small: what is lost is counted, and what is not exact says so.

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{acquainted, agrees, agrees_from_start},
    fixture::{Driver, Fault, Fixture, Layout, number},
    memmon::{Daemon, usage},
};

/// A daemon of these settings that observes this program alone.
fn alone(layout: Layout, settings: &[&str]) -> Result<(Daemon, Driver)> {
    let driver = Fixture::get(layout, Fault::None)?.spawn()?;
    let pid = driver.pid().to_string();
    let mut args = vec!["-p", &pid];
    args.extend(settings);
    let daemon = Daemon::start(&args)?;
    acquainted(&daemon, driver.pid())?;
    Ok((daemon, driver))
}

#[test]
fn lost_history_costs_no_truth() -> Result<()> {
    for layout in [Layout::Inline, Layout::Pimpl] {
        let (daemon, mut driver) = alone(layout, &["--history-bytes", "4096"])?;
        driver.ask("open chips 2")?;
        driver.ask("alloc a DRAM 2097152 2048")?;
        let answer = driver.ask("burst 100000 threads 2")?;
        let snapshot = agrees_from_start(&daemon, &answer)?;
        let health = &snapshot.health;
        ensure!(health.lost_events > 0, "{health:?}");
        ensure!(health.events >= 200_001, "{health:?}");
        assert_eq!(health.inexact_rows, 0);
    }
    Ok(())
}

#[test]
fn more_live_than_fits() -> Result<()> {
    let (daemon, mut driver) = alone(Layout::Pimpl, &["--live-entries", "16"])?;
    let answer = driver.ask("leak 8 4096")?;
    let snapshot = agrees(&daemon, &answer)?;
    assert_eq!(snapshot.health.inexact_rows, 0);
    let answer = driver.ask("leak 200 4096")?;
    let snapshot = daemon.snapshot()?;
    let row = usage(&snapshot, driver.pid(), 0, "DRAM").context("no DRAM")?;
    // They count; what will not be known is their end.
    assert_eq!(row.charged_bytes, Some(number(&answer, "truth", 0, "DRAM")));
    ensure!(!row.exact, "{row:?}");
    ensure!(snapshot.health.inexact_rows > 0);
    let notes = snapshot.health.notes.join("\n");
    ensure!(notes.contains("--live-entries"), "{notes}");
    driver.ask("freeall")?;
    let snapshot = daemon.snapshot()?;
    let row = usage(&snapshot, driver.pid(), 0, "DRAM").context("no DRAM")?;
    ensure!(!row.exact, "{row:?}");
    // A closed allocator holds nothing, whatever was forgotten.
    let answer = driver.ask("close")?;
    let snapshot = daemon.snapshot()?;
    let held = usage(&snapshot, driver.pid(), 0, "DRAM").and_then(|row| row.charged_bytes);
    ensure!(held.is_none_or(|bytes| bytes == 0), "{held:?} {answer}");
    Ok(())
}
