//! Fork, exec, exit, kill: a process is what it is from its start to its end, and what it held at
//! its end is known.

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::{Process, Snapshot};
use memmon_tests::{
    check::{acquainted, agrees, agrees_from_start, holds, running, shown},
    fixture::{Driver, Fault, Fixture, Layout, number},
    memmon::{Daemon, charged, process},
};

const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];

fn ready(layout: Layout) -> Result<(Daemon, Driver)> {
    let fixture = Fixture::get(layout, Fault::None)?;
    let first = fixture.spawn()?;
    let daemon = Daemon::start(&[])?;
    acquainted(&daemon, first.pid())?;
    Ok((daemon, fixture.spawn()?))
}

/// What the device is charged with; 0 where nobody has it open.
fn on_device(snapshot: &Snapshot, device: i64, pool: &str) -> u64 {
    snapshot
        .devices
        .iter()
        .filter(|row| row.device == Some(device))
        .flat_map(|row| &row.pools)
        .filter(|row| row.pool == pool)
        .map(|row| row.charged_bytes.unwrap_or(u64::MAX))
        .sum()
}

/// The process that ended under this pid.
fn exited(snapshot: &Snapshot, pid: u32) -> Option<Process> {
    let mut all = snapshot.processes.iter();
    all.find(|process| process.pid == pid && process.state == "exited")
        .cloned()
}

#[test]
fn a_child_frees_what_it_inherited() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        driver.ask("open chips 2 first 40")?;
        driver.ask("leak 5 8192")?;
        driver.ask("alloc a L1 8192 1024")?;
        let answer = driver.ask("fork hold 60000")?;
        assert_eq!(answer["child"]["frees"], 6);
        let snapshot = agrees_from_start(&daemon, &answer)?;
        ensure!(
            snapshot.health.inherited_frees >= 6,
            "{:?}",
            snapshot.health
        );
        assert_eq!(snapshot.health.unknown_frees, 0);
        // The child holds nothing of its own, and the device is charged once.
        let child = u32::try_from(answer["child_pid"].as_u64().context("child")?)?;
        if let Some(process) = process(&snapshot, child) {
            holds(process, &serde_json::json!({}))?;
        }
        let truth = number(&answer, "truth", 40, "DRAM");
        ensure!(truth > 0);
        assert_eq!(on_device(&snapshot, 40, "DRAM"), truth);
        // SAFETY: the child of our child, which still waits for it.
        unsafe { libc::kill(child.cast_signed(), libc::SIGKILL) };
        driver.ask("wait")?;
        let answer = driver.ask("freeall")?;
        agrees_from_start(&daemon, &answer)?;
    }
    Ok(())
}

#[test]
fn a_child_opens_a_device_of_its_own() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        driver.ask("open first 42")?;
        driver.ask("leak 3 8192")?;
        let answer = driver.ask("forkopen hold 60000")?;
        let child = u32::try_from(answer["child_pid"].as_u64().context("child")?)?;
        let snapshot = agrees_from_start(&daemon, &answer)?;
        let process = running(&snapshot, child).context("no child")?;
        ensure!(number(&answer["child"], "truth", 42, "DRAM") >= 1_048_576);
        holds(process, &answer["child"])?;
        assert_eq!(process.since, "start");
        assert_eq!(
            on_device(&snapshot, 42, "DRAM"),
            number(&answer, "truth", 42, "DRAM") + number(&answer["child"], "truth", 42, "DRAM")
        );
        // SAFETY: as above.
        unsafe { libc::kill(child.cast_signed(), libc::SIGKILL) };
        driver.ask("wait")?;
        daemon.wait_for("the child's end", |snapshot| exited(snapshot, child))?;
        let answer = driver.ask("report")?;
        let snapshot = agrees_from_start(&daemon, &answer)?;
        assert_eq!(
            on_device(&snapshot, 42, "DRAM"),
            number(&answer, "truth", 42, "DRAM")
        );
    }
    Ok(())
}

#[test]
fn killed() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        let pid = driver.pid();
        driver.ask("open first 44")?;
        let answer = driver.ask("alloc a DRAM 2097152 2048")?;
        let snapshot = agrees(&daemon, &answer)?;
        assert_eq!(on_device(&snapshot, 44, "DRAM"), 2_113_536);
        driver.tell("kill9")?;
        driver.wait()?;
        let process = daemon.wait_for("its end", |snapshot| exited(snapshot, pid))?;
        holds(&process, &answer)?;
        let snapshot = daemon.snapshot()?;
        ensure!(running(&snapshot, pid).is_none());
        assert_eq!(on_device(&snapshot, 44, "DRAM"), 0);
    }
    Ok(())
}

#[test]
fn exit_without_close() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        driver.ask("open chips 2")?;
        let answer = driver.ask("alloc a DRAM 2097152 2048")?;
        agrees(&daemon, &answer)?;
        let answer = driver.ask("exit 3")?;
        assert_eq!(driver.wait()?.code(), Some(3));
        let process = daemon.wait_for("its end", |snapshot| exited(snapshot, driver.pid()))?;
        holds(&process, &answer)?;
    }
    Ok(())
}

/// It closed its device: there is nothing that it still held.
#[test]
fn exit_after_close() -> Result<()> {
    let (daemon, mut driver) = ready(Layout::Pimpl)?;
    let pid = driver.pid();
    let answer = driver.ask("alloc a DRAM 2097152 2048")?;
    agrees(&daemon, &answer)?;
    ensure!(driver.finish()?.success());
    let process = daemon.wait_for("its end", |snapshot| exited(snapshot, pid))?;
    holds(&process, &serde_json::json!({}))
}

#[test]
fn exec_in_place() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        let pid = driver.pid();
        driver.ask("open first 46")?;
        let before = driver.ask("alloc a DRAM 2097152 2048")?;
        agrees(&daemon, &before)?;
        let again = Fixture::get(layout, Fault::None)?.driver();
        driver.ask(&format!("exec {}", again.display()))?;
        driver.ask("open first 46")?;
        let answer = driver.ask("alloc b DRAM 65536 4096")?;
        let snapshot = agrees_from_start(&daemon, &answer)?;
        holds(
            &exited(&snapshot, pid).context("the first program")?,
            &before,
        )?;
        assert_eq!(
            on_device(&snapshot, 46, "DRAM"),
            number(&answer, "truth", 46, "DRAM")
        );
        // And then something that has no such library.
        driver.ask("exec /bin/sleep 60")?;
        daemon.wait_for("its end", |snapshot| {
            running(snapshot, pid).is_none().then_some(())
        })?;
    }
    Ok(())
}

/// A thread that is gone before its allocation took place leaves nothing behind but doubt: nobody
/// outside can know whether the bytes were taken by then.
#[test]
fn a_thread_ends_in_an_allocation() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        driver.ask("alloc a DRAM 65536 4096")?;
        for _ in 0..20 {
            driver.ask("thread_exit_mid")?;
        }
        // What was pending would be taken for this.
        driver.ask("hooked 3")?;
        driver.ask("threads 4 2 count 20 keep 5")?;
        let answer = driver.ask("throw 3")?;
        let snapshot = daemon.snapshot()?;
        let rows = shown(&snapshot, driver.pid())?.usage.as_deref();
        let row = rows
            .unwrap_or_default()
            .iter()
            .find(|row| row.pool == "DRAM")
            .context("no DRAM")?;
        assert_eq!(row.failed_allocations, Some(0), "{row:?}");
        assert_eq!(row.charged_bytes, Some(number(&answer, "truth", 0, "DRAM")));
        ensure!(!row.exact, "said to be certain: {row:?}");
    }
    Ok(())
}

/// It is gone after its bytes were taken: they are the allocator's for ever, and no event told of
/// it. Either they are counted, or the row is no longer said to be exact.
#[test]
fn a_thread_ends_after_its_bytes_were_taken() -> Result<()> {
    for layout in BOTH {
        let (daemon, mut driver) = ready(layout)?;
        driver.ask("alloc a DRAM 65536 4096")?;
        let answer = driver.ask("thread_exit_mid late")?;
        ensure!(answer["orphaned"].as_u64() > Some(0));
        let snapshot = daemon.snapshot()?;
        let truth = number(&answer, "truth", 0, "DRAM");
        let rows = shown(&snapshot, driver.pid())?.usage.as_deref();
        let row = rows
            .unwrap_or_default()
            .iter()
            .find(|row| row.pool == "DRAM")
            .context("no DRAM")?;
        ensure!(
            row.charged_bytes == Some(truth) || !row.exact,
            "said to be exact, and is not {truth}: {row:?}"
        );
    }
    Ok(())
}

/// Over before anybody could look at it.
#[test]
fn short_lives() -> Result<()> {
    let (daemon, mut driver) = ready(Layout::Pimpl)?;
    let truth = number(
        &driver.ask("alloc a DRAM 2097152 2048")?,
        "truth",
        0,
        "DRAM",
    );
    let program = Fixture::get(Layout::Pimpl, Fault::None)?.driver();
    for _ in 0..5 {
        let mut child = std::process::Command::new(&program)
            .args("alloc a DRAM 2097152 2048 , exit 0".split(' '))
            .stdout(std::process::Stdio::null())
            .spawn()?;
        let pid = child.id();
        ensure!(child.wait()?.success());
        let process = daemon.wait_for("its end", |snapshot| exited(snapshot, pid))?;
        let held: Vec<_> = process.usage.iter().flatten().collect();
        assert_eq!(held.len(), 1, "{held:?}");
        assert_eq!(held[0].charged_bytes, Some(truth));
        assert_eq!(held[0].live_allocations, Some(1));
        assert_eq!(process.comm, "fixture");
    }
    Ok(())
}

#[test]
fn who_it_is() -> Result<()> {
    let (daemon, mut driver) = ready(Layout::Pimpl)?;
    let answer = driver.ask("alloc a DRAM 65536 4096")?;
    let snapshot = agrees(&daemon, &answer)?;
    let process = shown(&snapshot, driver.pid())?;
    let program = Fixture::get(Layout::Pimpl, Fault::None)?.driver();
    assert_eq!(process.comm, "fixture");
    assert_eq!(process.command, [program.display().to_string()]);
    assert_eq!(process.uid, Some(0));
    assert_eq!(process.user.as_deref(), Some("root"));
    assert_eq!(process.state, "running");
    ensure!(process.cgroup.is_some() && process.start_time.is_some());
    assert_eq!(
        charged(&snapshot, driver.pid(), 0, "DRAM"),
        Some(number(&answer, "truth", 0, "DRAM"))
    );
    Ok(())
}
