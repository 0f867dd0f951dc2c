//! memmon comes when the program has been running for a while: what it holds is read from it, to
//! the byte, and stays true from there on.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    check::{agrees, holds, is_exact, pid, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    memmon::{Daemon, query},
};
use serde_json::Value;

const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];

/// A program that holds something in every pool, on two chips.
fn busy(layout: Layout) -> Result<(Driver, Value)> {
    let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
    driver.ask("open chips 2 l1_small 16384 trace 1048576")?;
    for step in [
        "alloc a DRAM 2097152 2048",
        "alloc b L1 32768 4096 shards 8",
        "alloc c L1_SMALL 4096 64",
        "alloc d TRACE 65536 4096",
        "alloc e DRAM 1000 100",
        "alloc f DRAM 65536 4096",
        "free e",
        "leak 100 8192",
        "hooked 2",
    ] {
        driver.ask(step)?;
    }
    let answer = driver.ask("report")?;
    Ok((driver, answer))
}

#[test]
fn asked_without_a_daemon() -> Result<()> {
    for layout in BOTH {
        let (driver, answer) = busy(layout)?;
        let snapshot = query(&["-p", &driver.pid().to_string()])?;
        let process = running(&snapshot, driver.pid()).context("not shown")?;
        holds(process, &answer)?;
        assert_eq!(process.since, "recovered");
        // No probe was placed for this.
        assert_eq!(snapshot.health.events, 0);
        ensure!(snapshot.libraries.iter().all(|library| library.probes == 0));
        // What the device has, too.
        let device = snapshot
            .devices
            .iter()
            .find(|device| device.device == Some(1))
            .context("no device 1")?;
        let pool = device
            .pools
            .iter()
            .find(|pool| pool.pool == "DRAM")
            .context("no DRAM")?;
        assert_eq!(
            pool.charged_bytes,
            Some(number(&answer, "truth", 1, "DRAM"))
        );
        assert_eq!(
            pool.capacity_bytes,
            Some(number(&answer, "capacity", 1, "DRAM"))
        );
        assert_eq!(
            pool.largest_free_bytes_per_bank,
            Some(number(&answer, "largest_free_per_bank", 1, "DRAM"))
        );
    }
    Ok(())
}

/// Nothing open, and everything closed: nothing is held, and that is known.
#[test]
fn asked_when_there_is_nothing() -> Result<()> {
    for layout in BOTH {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        let answer = driver.ask("report")?;
        let pid = driver.pid().to_string();
        let snapshot = query(&["-p", &pid])?;
        holds(running(&snapshot, driver.pid()).context("it")?, &answer)?;
        driver.ask("alloc a DRAM 65536 4096")?;
        let answer = driver.ask("close")?;
        let snapshot = query(&["-p", &pid])?;
        holds(running(&snapshot, driver.pid()).context("it")?, &answer)?;
    }
    Ok(())
}

#[test]
fn idle_when_memmon_comes() -> Result<()> {
    for layout in BOTH {
        let (mut driver, answer) = busy(layout)?;
        let daemon = Daemon::start(&[])?;
        let snapshot = agrees(&daemon, &answer)?;
        let process = running(&snapshot, driver.pid()).context("it")?;
        assert_eq!(process.since, "recovered");
        for step in [
            "free a",
            "doublefree f",
            "alloc a DRAM 4194304 4096",
            "oom",
            "burst 1000 threads 2",
            "free b",
            "threads 3 2 count 50 keep 7",
            "freeall",
            "leak 3 4096",
            "close",
            "reopen",
            "leak 5 4096",
        ] {
            let answer = driver.ask(step)?;
            agrees(&daemon, &answer).with_context(|| format!("{layout:?}, after `{step}`"))?;
        }
        assert_eq!(daemon.snapshot()?.health.unknown_frees, 0);
    }
    Ok(())
}

/// The numbers of this answer, at once or, where they are not said to be exact, as soon as the
/// process has been looked at again.
fn agrees_in_time(daemon: &Daemon, answer: &Value) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let snapshot = daemon.snapshot()?;
        let process = running(&snapshot, pid(answer)).context("it")?;
        let Err(error) = holds(process, answer) else {
            return Ok(());
        };
        let is_sure = process.usage.iter().flatten().all(|row| row.exact);
        if is_sure || Instant::now() > until {
            return Err(error.context(format!("sure: {is_sure}, health {:?}", snapshot.health)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// It allocates and frees in several threads while memmon attaches.
#[test]
fn allocating_when_memmon_comes() -> Result<()> {
    for layout in BOTH {
        let (mut driver, _) = busy(layout)?;
        for round in 0..3 {
            // Many more than can be done before the daemon is there.
            driver.tell("threads 3 2 count 40000 keep 500")?;
            let daemon = Daemon::start(&[])?;
            let answer = driver.answer()?;
            assert_eq!(answer["ok"], true, "{answer}");
            let context = || format!("{layout:?}, round {round}");
            agrees_in_time(&daemon, &answer).with_context(context)?;
            let snapshot = daemon.snapshot()?;
            let process = running(&snapshot, driver.pid()).context("it")?;
            assert_eq!(process.since, "recovered", "{}", context());
            let answer = driver.ask("leak 3 4096")?;
            agrees(&daemon, &answer).with_context(context)?;
            let answer = driver.ask("freeall")?;
            agrees(&daemon, &answer).with_context(context)?;
            driver.ask("leak 100 8192")?;
        }
    }
    Ok(())
}

/// What could not be read at once is read later, also where another runtime's past stays unknown for good.
#[test]
fn not_to_be_read_at_first_beside_another_runtime() -> Result<()> {
    let library = tempfile::tempdir()?;
    let double = source("cuda/double.c");
    cc(
        library.path(),
        &["-shared", "-fPIC", "-o", "libcuda.so.1", &double],
    )?;
    let mut command = Command::new(Fixture::get(Layout::Pimpl, Fault::None)?.driver());
    command.env("LD_PRELOAD", library.path().join("libcuda.so.1"));
    let mut driver = Driver::spawn(command)?;
    driver.ask("open chips 2 l1_small 16384 trace 1048576")?;
    driver.ask("leak 100 8192")?;
    driver.ask("corrupt dangling-buffer")?;
    let daemon = Daemon::start(&[])?;
    let snapshot = daemon.snapshot()?;
    ensure!(!is_exact(&snapshot, driver.pid()), "it could be read");
    agrees_in_time(&daemon, &driver.ask("heal")?)?;
    let snapshot = daemon.snapshot()?;
    let process = running(&snapshot, driver.pid()).context("it")?;
    assert_eq!(process.since, "attach");
    agrees(&daemon, &driver.ask("freeall")?)?;
    Ok(())
}

/// What a child merely inherited is its parent's; what it opened itself is its own.
#[test]
fn a_forked_child_is_not_what_its_parent_holds() -> Result<()> {
    for layout in BOTH {
        let (mut driver, _) = busy(layout)?;
        let answer = driver.ask("forkopen hold 60000")?;
        let child = u32::try_from(answer["child_pid"].as_u64().context("child")?)?;
        let daemon = Daemon::start(&[])?;
        let snapshot = agrees(&daemon, &answer)?;
        let process = running(&snapshot, child).context("no child")?;
        holds(process, &answer["child"])?;
        // SAFETY: the child of our child, which still waits for it.
        unsafe { libc::kill(child.cast_signed(), libc::SIGKILL) };
        driver.ask("wait")?;
    }
    Ok(())
}
