//! Tables of the kernel's that are full: whatever could not be stored is never silently wrong, and
//! all is well again when the cause is gone.

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{acquainted, agrees, honest, is_exact, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    maps::Maps,
    memmon::{Daemon, usage},
};
use serde_json::Value;

fn pair() -> Result<(Driver, Driver)> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    Ok((fixture.spawn()?, fixture.spawn()?))
}

/// Of these two programs alone.
fn daemon(one: &Driver, other: &Driver, settings: &[&str]) -> Result<Daemon> {
    let pids = format!("{},{}", one.pid(), other.pid());
    let mut args = vec!["-p", &pids];
    args.extend(settings);
    Daemon::start(&args)
}

/// The same process as another program: what was in doubt is gone with the first. It begins when that is so: until then,
/// what the first had takes room.
fn reborn(daemon: &Daemon, driver: &mut Driver) -> Result<Value> {
    let program = Fixture::get(Layout::Pimpl, Fault::None)?.driver();
    driver.ask(&format!("exec {}", program.display()))?;
    let pid = driver.pid();
    daemon.wait_for("another program", |snapshot| {
        let usage = running(snapshot, pid)?.usage.as_ref()?;
        usage.is_empty().then_some(())
    })?;
    driver.ask("alloc z DRAM 65536 4096")
}

fn exact_again(daemon: &Daemon, answer: &Value) -> Result<()> {
    let pid = memmon_tests::check::pid(answer);
    daemon.wait_for("exact numbers", |snapshot| {
        let process = running(snapshot, pid)?;
        let known = !process.usage.as_ref()?.is_empty();
        (known && is_exact(snapshot, pid)).then_some(())
    })?;
    agrees(daemon, answer)?;
    Ok(())
}

#[test]
fn no_room_for_rows_owners_or_processes() -> Result<()> {
    for (map, entries) in [
        ("ROWS", 1),
        ("ROWS", 3),
        ("OWNERS", 2),
        ("OWNERS", 9),
        ("PROCS", 1),
    ] {
        let context = || format!("{map} of {entries}");
        let (mut one, mut other) = pair()?;
        let daemon = daemon(
            &one,
            &other,
            &["--map-entries", &format!("{map}={entries}")],
        )?;
        acquainted(&daemon, one.pid())?;
        acquainted(&daemon, other.pid())?;
        let mut doubt = 0;
        for step in [
            "open chips 2 l1_small 16384 trace 1048576",
            "alloc a DRAM 2097152 2048",
            "alloc b L1 32768 4096",
            "alloc c L1_SMALL 4096 64",
            "alloc d TRACE 65536 4096",
            "burst 1000 threads 2",
            "oom",
            "free a",
        ] {
            for driver in [&mut one, &mut other] {
                let answer = driver.ask(step)?;
                let snapshot = daemon.snapshot()?;
                honest(&snapshot, &answer)
                    .with_context(|| format!("{map} of {entries}, {step}"))?;
                doubt += u32::from(!is_exact(&snapshot, driver.pid()));
            }
        }
        ensure!(doubt > 0, "{}: there was room", context());
        let notes = daemon.snapshot()?.health.notes.join("\n");
        ensure!(
            notes.contains("table of the kernel's was full"),
            "{}: {notes}",
            context()
        );
        // One goes, and there is room for the other.
        let pid = one.pid();
        ensure!(one.finish()?.success());
        daemon.wait_for("its end", |snapshot| {
            running(snapshot, pid).is_none().then_some(())
        })?;
        if map == "PROCS" {
            let answer = other.ask("report")?;
            exact_again(&daemon, &answer)?;
        }
        if entries != 1 || map == "PROCS" {
            let answer = reborn(&daemon, &mut other)?;
            exact_again(&daemon, &answer).with_context(context)?;
        }
    }
    Ok(())
}

/// Threads that stay in an allocation take every place there is for one.
#[test]
fn no_room_for_what_is_pending() -> Result<()> {
    let (mut one, mut other) = pair()?;
    let daemon = daemon(&one, &other, &["--map-entries", "PENDING=8"])?;
    acquainted(&daemon, one.pid())?;
    let answer = other.ask("alloc a DRAM 65536 4096")?;
    agrees(&daemon, &answer)?;
    one.ask("stuck 64")?;
    let maps = Maps::of(daemon.pid())?;
    daemon.wait_for("no room", |_| (maps.pending().ok()? >= 8).then_some(()))?;
    for step in [
        "leak 5 8192",
        "threads 3 2 count 20 keep 5",
        "alloc b L1 8192 1024",
    ] {
        let answer = other.ask(step)?;
        honest(&daemon.snapshot()?, &answer).with_context(|| step.to_owned())?;
    }
    let snapshot = daemon.snapshot()?;
    ensure!(!is_exact(&snapshot, other.pid()), "there was room");
    ensure!(
        snapshot
            .health
            .notes
            .join("\n")
            .contains("table of the kernel's was full")
    );
    one.signal(libc::SIGKILL)?;
    one.wait()?;
    maps.settle()?;
    let answer = reborn(&daemon, &mut other)?;
    exact_again(&daemon, &answer)?;
    let answer = other.ask("threads 3 2 count 20 keep 5")?;
    exact_again(&daemon, &answer)
}

/// More is live when memmon comes than it can remember: all of it counts, none of it is certain.
#[test]
fn more_live_than_fits_when_memmon_comes() -> Result<()> {
    let (mut one, other) = pair()?;
    let answer = one.ask("leak 200 4096")?;
    let daemon = daemon(&one, &other, &["--live-entries", "16"])?;
    let snapshot = daemon.snapshot()?;
    let row = usage(&snapshot, one.pid(), 0, "DRAM").context("no DRAM")?;
    assert_eq!(row.charged_bytes, Some(number(&answer, "truth", 0, "DRAM")));
    ensure!(!row.exact, "{row:?}");
    ensure!(snapshot.health.notes.join("\n").contains("--live-entries"));
    Ok(())
}

/// What a closed device held takes no room for ever.
#[test]
fn closed_devices_leave_nothing() -> Result<()> {
    for layout in [Layout::Inline, Layout::Pimpl] {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        // Some of it is there before memmon comes.
        driver.ask("leak 50 8192")?;
        let pid = driver.pid().to_string();
        let daemon = Daemon::start(&[
            "-p",
            &pid,
            "--live-entries",
            "64",
            "--map-entries",
            "ROWS=6",
        ])?;
        let maps = Maps::of(daemon.pid())?;
        for _ in 0..5 {
            driver.ask("reopen")?;
            daemon.wait_for("an empty table", |_| (maps.live().ok()? == 0).then_some(()))?;
            driver.ask("alloc a L1 8192 1024")?;
            let answer = driver.ask("leak 50 8192")?;
            agrees(&daemon, &answer)?;
        }
        maps.settle()?;
        assert!(daemon.snapshot()?.health.notes.is_empty());
    }
    Ok(())
}
