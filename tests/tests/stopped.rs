//! memmon stands still for ten seconds while everything goes on: when it goes on, all totals are
//! exact, what is lost of the history is counted, and who came, went or changed meanwhile is known.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{agrees, holds, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    maps::Maps,
    memmon::{Daemon, query},
};
use serde_json::Value;

const STILL: Duration = Duration::from_secs(10);

fn stop(daemon: &Daemon, signal: i32) {
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(daemon.pid().cast_signed(), signal) };
}

#[test]
fn ten_seconds_of_standing_still() -> Result<()> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let program = fixture.driver();
    let spawn = |words: &str| -> Result<Driver> {
        let mut driver = fixture.spawn()?;
        driver.ask(words)?;
        Ok(driver)
    };
    let mut busy = spawn("leak 5 8192")?;
    let mut moves = spawn("open first 81")?;
    moves.ask("leak 4 8192")?;
    let mut execs = spawn("leak 3 1048576")?;
    let mut ends = spawn("leak 2 8192")?;
    let mut forks = spawn("alloc a L1 8192 1024")?;
    let daemon = Daemon::start(&[])?;
    for driver in [&mut busy, &mut moves, &mut execs, &mut ends, &mut forks] {
        agrees(&daemon, &driver.ask("report")?)?;
    }
    let before = daemon.snapshot()?;

    let start = Instant::now();
    stop(&daemon, libc::SIGSTOP);
    busy.tell("threads 3 2 count 60000 keep 500")?;
    // Enough for every record of it to find the ring of process events full.
    let storm = forks.ask("storm 4000 parallel 8")?;
    println!("4000 processes in {} ms", storm["ms"]);
    let held_before_exec = execs.ask("report")?;
    execs.ask(&format!("exec {}", program.display()))?;
    execs.ask("open first 82")?;
    let executed = execs.ask("leak 6 65536")?;
    let ended = ends.ask("leak 3 8192")?;
    ends.signal(libc::SIGKILL)?;
    ends.wait()?;
    moves.ask("open first 83")?;
    let moved = moves.ask("leak 7 8192")?;
    let mut comes = fixture.spawn()?;
    comes.ask("open first 84 chips 2")?;
    let came = comes.ask("leak 8 8192")?;
    let child = forks.ask("forkopen hold 60000")?;
    let mut unseen = Command::new(&program)
        .args("leak 9 8192 , exit 0".split(' '))
        .stdout(std::process::Stdio::null())
        .spawn()?;
    unseen.wait()?;
    busy.tell("burst 200000 threads 2")?;
    let first = busy.answer()?;
    assert_eq!(first["ok"], true, "{first}");
    let stressed = busy.answer()?;
    assert_eq!(stressed["ok"], true, "{stressed}");
    std::thread::sleep(STILL.saturating_sub(start.elapsed()));
    stop(&daemon, libc::SIGCONT);

    // Totals at once.
    let snapshot = agrees(&daemon, &stressed)?;
    let lost = snapshot.health.lost_events - before.health.lost_events;
    println!("lost records: {lost}; {:?}", snapshot.health.notes);
    ensure!(lost > 100_000, "{:?}", snapshot.health);
    // Who is who and where at the next sweep.
    let told: Vec<Value> = vec![
        stressed,
        executed,
        moved,
        came,
        child["child"].clone(),
        child,
    ];
    daemon.wait_for("everything as it is", |snapshot| {
        told.iter()
            .all(|answer| {
                let pid = memmon_tests::check::pid(answer);
                running(snapshot, pid).is_some_and(|process| holds(process, answer).is_ok())
            })
            .then_some(())
    })?;
    let snapshot = daemon.snapshot()?;
    ensure!(running(&snapshot, ends.pid()).is_none(), "it ended");
    for (pid, answer) in [(ends.pid(), &ended), (execs.pid(), &held_before_exec)] {
        let process = snapshot
            .processes
            .iter()
            .find(|process| process.pid == pid && process.state == "exited")
            .with_context(|| format!("the end of {pid}"))?;
        holds(process, answer)?;
    }
    // Its new chip, and not the one that it had.
    let chips = |pid: u32| -> Vec<i64> {
        let usage = running(&snapshot, pid).and_then(|process| process.usage.as_ref());
        let rows = usage.into_iter().flatten();
        let held = rows.filter(|row| row.charged_bytes > Some(0));
        held.filter_map(|row| row.device).collect()
    };
    assert_eq!(chips(moves.pid()), [83]);
    assert_eq!(chips(execs.pid()), [82]);
    // And all goes on as before.
    Maps::of(daemon.pid())?.settle()?;
    for driver in [&mut busy, &mut moves, &mut execs, &mut comes] {
        let answer = driver.ask("leak 2 65536")?;
        agrees(&daemon, &answer)?;
        let answer = driver.ask("freeall")?;
        agrees(&daemon, &answer)?;
    }
    Ok(())
}

/// A process that stands still is read like any other.
#[test]
fn a_target_that_stands_still() -> Result<()> {
    for layout in [Layout::Inline, Layout::Pimpl] {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        driver.ask("leak 5 8192")?;
        let answer = driver.ask("alloc b L1 32768 4096")?;
        let pid = driver.pid();
        driver.signal(libc::SIGSTOP)?;
        let snapshot = query(&["-p", &pid.to_string()])?;
        holds(running(&snapshot, pid).context("it")?, &answer)?;
        let daemon = Daemon::start(&[])?;
        agrees(&daemon, &answer)?;
        driver.signal(libc::SIGCONT)?;
        let answer = driver.ask("free b")?;
        agrees(&daemon, &answer)?;
        // In the middle of what it does.
        driver.tell("threads 3 2 count 30000 keep 100")?;
        std::thread::sleep(Duration::from_millis(50));
        driver.signal(libc::SIGSTOP)?;
        let still = [daemon.snapshot()?, daemon.snapshot()?];
        let held = |at: usize| {
            let usage = running(&still[at], pid).and_then(|process| process.usage.as_ref());
            usage.map(|rows| rows.iter().map(|row| row.charged_bytes).collect::<Vec<_>>())
        };
        ensure!(
            held(0).is_some() && held(0) == held(1),
            "{:?}, {:?}",
            held(0),
            held(1)
        );
        driver.signal(libc::SIGCONT)?;
        let answer = driver.answer()?;
        ensure!(number(&answer, "truth", 0, "DRAM") > 0, "{answer}");
        agrees(&daemon, &answer)?;
    }
    Ok(())
}
