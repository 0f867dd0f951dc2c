//! Every step of a program against the truth of its own allocator, in both object layouts.

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{acquainted, agrees, agrees_from_start, counts, holds, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    memmon::{Daemon, usage},
};

const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];

/// A daemon that has the library attached, and a program that starts after it.
fn ready(layout: Layout) -> Result<(Daemon, Driver)> {
    let fixture = Fixture::get(layout, Fault::None)?;
    let first = fixture.spawn()?;
    let daemon = Daemon::start(&[])?;
    acquainted(&daemon, first.pid())?;
    let driver = fixture.spawn()?;
    Ok((daemon, driver))
}

#[test]
fn every_step_on_two_chips() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        for step in [
            "open chips 2 l1_small 16384 trace 1048576",
            "alloc a DRAM 2097152 2048",
            "alloc b L1 32768 4096 shards 8",
            "alloc c L1_SMALL 4096 64",
            "alloc d TRACE 65536 4096",
            "alloc e DRAM 1000 100",
            "alloc f L1 4096 1024",
            "free a",
            "doublefree e",
            "drop f",
            "oom",
            "oom L1",
            "throw 5",
            "hooked 4",
            "alloc g DRAM 12288 4096 shards 3",
            "cb 2 4096",
            "burst 1000 threads 2",
            "threads 3 2 count 50 keep 7",
            "freeall",
            "leak 3 8192",
            "close",
            "reopen",
            "alloc h DRAM 65536 4096",
            "free h",
            "alloc i L1 65536 4096",
        ] {
            let answer = driver.ask(step)?;
            agrees_from_start(&daemon, &answer)
                .with_context(|| format!("{layout:?}, after `{step}`"))?;
        }
    }
    Ok(())
}

/// Registered on each chip, part of no pool's bytes, and gone with the program that had them.
#[test]
fn circular_buffers() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        let pid = driver.pid();
        driver.ask("open chips 2")?;
        driver.ask("alloc a L1 8192 1024")?;
        let answer = driver.ask("cb 3 4096")?;
        let snapshot = agrees(&daemon, &answer)?;
        for chip in [0, 1] {
            let row = usage(&snapshot, pid, chip, "CB").context("no CB row")?;
            assert_eq!(row.charged_bytes, None);
            assert_eq!(row.requested_bytes, Some(3 * 4096));
            assert_eq!(row.live_allocations, Some(3));
        }
        let answer = driver.ask("cbfree")?;
        let snapshot = agrees(&daemon, &answer)?;
        let held = usage(&snapshot, pid, 0, "CB").and_then(|row| row.requested_bytes);
        ensure!(held.is_none_or(|bytes| bytes == 0), "still {held:?}");
    }
    Ok(())
}

/// The device's own numbers: capacity, and the sum over its processes.
#[test]
fn devices_are_the_sum_of_their_processes() -> Result<()> {
    let (daemon, mut one) = ready(Layout::Pimpl)?;
    let mut other = Fixture::get(Layout::Inline, Fault::None)?.spawn()?;
    // A chip that no other test opens.
    one.ask("open first 21")?;
    other.ask("open first 21")?;
    let first = one.ask("alloc a DRAM 2097152 2048")?;
    let second = other.ask("alloc a DRAM 65536 4096")?;
    let snapshot = daemon.snapshot()?;
    let device = snapshot
        .devices
        .iter()
        .find(|device| device.device == Some(21))
        .context("no device 21")?;
    let pool = device
        .pools
        .iter()
        .find(|pool| pool.pool == "DRAM")
        .context("no DRAM")?;
    let sum = number(&first, "truth", 21, "DRAM") + number(&second, "truth", 21, "DRAM");
    assert_eq!(pool.charged_bytes, Some(sum));
    assert_eq!(
        pool.capacity_bytes,
        Some(number(&first, "capacity", 21, "DRAM"))
    );
    assert_eq!(pool.banks, Some(12));
    Ok(())
}

/// Totals are kept in the kernel: whatever becomes of the history, they are exact.
#[test]
fn a_million_pairs() -> Result<()> {
    let (daemon, mut driver) = ready(Layout::Pimpl)?;
    driver.patience = std::time::Duration::from_secs(120);
    driver.ask("alloc kept DRAM 2097152 2048")?;
    let answer = driver.ask("burst 1000000 threads 2")?;
    assert_eq!(answer["allocations"], 1_000_001);
    let snapshot = agrees_from_start(&daemon, &answer)?;
    ensure!(snapshot.health.events >= 2_000_000, "{:?}", snapshot.health);
    Ok(())
}

#[test]
fn threads_free_what_others_allocate() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        let answer = driver.ask("threads 6 3 count 2000 keep 100")?;
        assert_eq!(answer["allocations"], 12_000);
        let snapshot = agrees_from_start(&daemon, &answer)?;
        assert_eq!(snapshot.health.unknown_frees, 0);
        let answer = driver.ask("freeall")?;
        agrees_from_start(&daemon, &answer)?;
    }
    Ok(())
}

/// An out-of-memory is listed with what was asked for, and changes nothing that is held.
#[test]
fn failures_are_listed() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        driver.ask("open chips 2")?;
        let before = driver.ask("alloc a DRAM 2097152 2048")?;
        let answer = driver.ask("oom")?;
        let banks = 12;
        let hole = number(&before, "largest_free_per_bank", 0, "DRAM");
        let asked = (hole / 4096 + 1) * 4096 * banks;
        let snapshot = agrees_from_start(&daemon, &answer)?;
        let listed: Vec<_> = snapshot
            .failures
            .iter()
            .filter(|failure| failure.pid == driver.pid())
            .collect();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].requested_bytes, asked);
        assert_eq!(listed[0].needed_bytes, Some(asked));
        assert_eq!(listed[0].pool, "DRAM");
        assert_eq!(listed[0].devices, [Some(0), Some(1)]);
    }
    Ok(())
}

/// The same answers to a client that asks for one process or one device.
#[test]
fn narrowed() -> Result<()> {
    let (daemon, mut driver) = ready(Layout::Pimpl)?;
    let mut other = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    other.ask("leak 1 4096")?;
    driver.ask("open chips 2")?;
    let answer = driver.ask("alloc a DRAM 2097152 2048")?;
    let snapshot = daemon.snapshot_with(&["-p", &driver.pid().to_string()])?;
    assert_eq!(snapshot.processes.len(), 1);
    holds(&snapshot.processes[0], &answer)?;
    counts(&snapshot.processes[0], &answer)?;
    let snapshot = daemon.snapshot_with(&["-d", "1"])?;
    ensure!(running(&snapshot, other.pid()).is_none());
    let process = running(&snapshot, driver.pid()).context("it has device 1")?;
    for row in process.usage.iter().flatten() {
        assert_eq!(row.device, Some(1));
    }
    Ok(())
}
