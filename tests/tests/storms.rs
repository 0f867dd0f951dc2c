//! Processes and threads that come and go faster than anybody can look: nothing is taken for
//! another's, nothing of them is left, and memmon is no larger afterwards.

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::{EXITED_SHOWN, snapshot::Snapshot};
use memmon_tests::{
    check::{acquainted, agrees, holds, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    maps::Maps,
    memmon::{Daemon, usage},
    reborn::Reborn,
};

/// A program on a chip that no other test has.
fn ready(chip: u32) -> Result<(Daemon, Driver, Maps)> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let mut driver = fixture.spawn()?;
    driver.ask(&format!("open first {chip}"))?;
    driver.ask("alloc a DRAM 2097152 2048")?;
    let daemon = Daemon::start(&[])?;
    acquainted(&daemon, driver.pid())?;
    let maps = Maps::of(daemon.pid())?;
    Ok((daemon, driver, maps))
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("VmRSS")?.parse()?)
}

fn on_device(snapshot: &Snapshot, device: i64) -> u64 {
    snapshot
        .devices
        .iter()
        .filter(|row| row.device == Some(device))
        .flat_map(|row| &row.pools)
        .filter(|row| row.pool == "DRAM")
        .map(|row| row.charged_bytes.unwrap_or(u64::MAX))
        .sum()
}

/// `MEMMON_STORM` children a round (2,000 where it is not set), some thousand a second.
#[test]
fn short_lives_by_the_thousand() -> Result<()> {
    let count: u64 = std::env::var("MEMMON_STORM").map_or(Ok(2000), |count| count.parse())?;
    // Under a name of its own: others end meanwhile, too.
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("stormy");
    symlink(Fixture::get(Layout::Pimpl, Fault::None)?.driver(), &program)?;
    let (daemon, _, maps) = ready(70)?;
    let mut driver = Driver::spawn(Command::new(&program))?;
    driver.ask("open first 71")?;
    driver.ask("alloc a DRAM 2097152 2048")?;
    let mut sizes = Vec::new();
    for round in 0..5 {
        let answer = driver.ask(&format!("storm {count} parallel 8"))?;
        let snapshot = agrees(&daemon, &answer).with_context(|| format!("round {round}"))?;
        let each = answer["each"].as_u64().context("each")?;
        // Those that are still shown had what they had, each of them: what one did is not another's.
        let mut shown = 0;
        for process in &snapshot.processes {
            let rows = process.usage.as_deref().unwrap_or_default();
            if process.comm != "stormy" || process.state != "exited" {
                continue;
            }
            ensure!(rows.len() == 1 && rows[0].exact, "{process:#?}");
            ensure!(
                rows[0].device.is_none_or(|device| device == 71),
                "{process:#?}"
            );
            ensure!(rows[0].charged_bytes == Some(each), "{process:#?}");
            ensure!(rows[0].live_allocations == Some(1), "{process:#?}");
            shown += 1;
        }
        ensure!(shown > count / 2, "{shown} of {count} are shown");
        assert_eq!(
            on_device(&snapshot, 71),
            number(&answer, "truth", 71, "DRAM")
        );
        println!("{count} processes in {} ms, {shown} shown", answer["ms"]);
        maps.settle()?;
        sizes.push(resident_kib(daemon.pid())?);
    }
    if 5 * count > 2 * EXITED_SHOWN as u64 {
        // That not all are shown for a minute is said.
        let notes = daemon.snapshot()?.health.notes;
        let is_said = notes.iter().any(|note| note.contains("less than a minute"));
        ensure!(is_said, "{notes:?}");
    }
    println!("resident KiB after each round: {sizes:?}");
    // As many as are remembered were there after three rounds.
    ensure!(sizes[4] < sizes[2] + 16 * 1024, "{sizes:?}");
    Ok(())
}

/// What was read from a process is in no row of the kernel's, but in its map of live allocations.
#[test]
fn what_was_recovered_is_forgotten_with_its_process() -> Result<()> {
    let (daemon, mut driver, maps) = ready(79)?;
    let answer = driver.ask("report")?;
    let snapshot = agrees(&daemon, &answer)?;
    let process = running(&snapshot, driver.pid()).context("not shown")?;
    assert_eq!(process.since, "recovered");
    ensure!(maps.live()? > 0);
    // It ends with what it holds.
    driver.tell("kill9")?;
    maps.settle()
}

/// 500 children, each with a device of its own, all there at once.
#[test]
fn a_fork_bomb_of_allocators() -> Result<()> {
    let (daemon, mut driver, maps) = ready(72)?;
    let before = number(&driver.ask("report")?, "truth", 72, "DRAM");
    let answer = driver.ask("storm 500 hold 1")?;
    let each = answer["each"].as_u64().context("each")?;
    daemon.wait_for("all of them", |snapshot| {
        let children = snapshot.processes.iter().filter(|process| {
            let rows = process.usage.as_deref().unwrap_or_default();
            process.state == "running"
                && rows.len() == 1
                && rows[0].device == Some(72)
                && rows[0].charged_bytes == Some(each)
                && rows[0].exact
        });
        (children.count() == 500 && on_device(snapshot, 72) == before + 500 * each).then_some(())
    })?;
    driver.ask("wait")?;
    daemon.wait_for("their end", |snapshot| {
        (on_device(snapshot, 72) == before).then_some(())
    })?;
    maps.settle()
}

/// A pid is somebody else's at once: what the first one held is not the second one's.
#[test]
fn a_pid_is_used_again() -> Result<()> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let mut reference = fixture.spawn()?;
    let truth = reference.ask("alloc a DRAM 65536 4096")?;
    let daemon = Daemon::start(&[])?;
    acquainted(&daemon, reference.pid())?;
    // Unseen, too: memmon stands still while the one goes and the other comes.
    for stopped in [false, true] {
        let mut first = fixture.spawn()?;
        let pid = first.pid();
        let held = first.ask("leak 9 1048576")?;
        agrees(&daemon, &held)?;
        let signal = |signal| {
            if stopped {
                // SAFETY: a signal to a child that has not been waited for.
                unsafe { libc::kill(daemon.pid().cast_signed(), signal) };
            }
        };
        signal(libc::SIGSTOP);
        first.signal(libc::SIGKILL)?;
        first.wait()?;
        let program = fixture.driver();
        let args = ["alloc", "a", "DRAM", "65536", "4096", ",", "sleep", "60000"];
        let second = Reborn::start(pid, &program, &args)?;
        std::thread::sleep(Duration::from_millis(500));
        signal(libc::SIGCONT);
        daemon.wait_for("the second", |snapshot| {
            let row = usage_of_running(snapshot, pid)?;
            let right = row.0 == Some(number(&truth, "truth", 0, "DRAM")) && row.1 == Some(1);
            (right && row.2).then_some(())
        })?;
        let snapshot = daemon.snapshot()?;
        let ended = snapshot
            .processes
            .iter()
            .find(|process| process.pid == pid && process.state == "exited")
            .context("the first one's end")?;
        holds(ended, &held)?;
        drop(second);
    }
    Maps::of(daemon.pid())?.settle()
}

fn usage_of_running(snapshot: &Snapshot, pid: u32) -> Option<(Option<u64>, Option<u64>, bool)> {
    let process = running(snapshot, pid)?;
    let row = process.usage.as_ref()?.first()?;
    Some((row.charged_bytes, row.live_allocations, row.exact))
}

/// Thousands of threads that are gone before their allocation was committed, and processes killed
/// in the middle of many: no place is lost for it.
#[test]
fn ends_in_the_middle_of_an_allocation() -> Result<()> {
    let (daemon, mut driver, maps) = ready(73)?;
    driver.ask("thread_exit_mid count 3000")?;
    maps.settle()?;
    let snapshot = daemon.snapshot()?;
    let row = usage(&snapshot, driver.pid(), 73, "DRAM").context("no DRAM")?;
    ensure!(!row.exact, "said to be certain: {row:?}");
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    for _ in 0..4 {
        let mut victim = fixture.spawn()?;
        victim.ask("stuck 60")?;
        daemon.wait_for("its threads", |_| {
            (maps.pending().ok()? >= 50).then_some(())
        })?;
        victim.signal(libc::SIGKILL)?;
        victim.wait()?;
    }
    maps.settle()?;
    // Another program in place of one whose threads are in the middle of it.
    let mut victim = fixture.spawn()?;
    victim.ask("stuck 60")?;
    victim.ask(&format!("exec {}", fixture.driver().display()))?;
    let answer = victim.ask("alloc a DRAM 65536 4096")?;
    agrees(&daemon, &answer)?;
    maps.settle()
}

/// Under load a process becomes another program, again and again.
#[test]
fn exec_in_place_under_load() -> Result<()> {
    let (daemon, mut driver, maps) = ready(74)?;
    let program = Fixture::get(Layout::Pimpl, Fault::None)?.driver();
    let mut busy = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    busy.tell("threads 3 2 count 30000 keep 10")?;
    for round in 0..15 {
        driver.ask("leak 7 65536")?;
        driver.ask(&format!("exec {}", program.display()))?;
        let answer = driver.ask("leak 3 8192")?;
        agrees(&daemon, &answer).with_context(|| format!("round {round}"))?;
    }
    let answer = busy.answer()?;
    assert_eq!(answer["ok"], true, "{answer}");
    agrees(&daemon, &answer)?;
    maps.settle()
}
