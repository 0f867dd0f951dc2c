//! What memmon itself does with events: how many it takes in a second, at what cost; and what it keeps of each.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    follower::Follower,
    observers::{Daemon, Programs},
    parts::Bench,
    subject::Subject,
    usage::Usage,
};
use crate::shell::capture;

/// An allocation and its free.
const EVENTS_A_PAIR: u64 = 2;
const TICK: Duration = Duration::from_millis(20);
const TICKS: u32 = 100;

/// The processor that memmon has for itself, and the one that events are made on.
const OBSERVER: &str = "0";
const OBSERVED: &str = "1";

pub fn measure(bench: Bench<'_>) -> Result<()> {
    let (programs, fixture) = (bench.programs, bench.fixture.join("pimpl"));
    println!();
    println!(
        "{:<44} {:>10} {:>10} {:>11} {:>12} {:>10}",
        "events, taken in by one processor",
        "a second",
        "lost",
        "ns an event",
        "wake-ups per",
        "processor"
    );
    println!("{:<90} {:>12} {:>10}", "", "1000 events", "busy, %");
    rates(programs, &fixture, false)?;
    rates(programs, &fixture, true)?;
    memory(programs, &fixture)
}

/// Raises the rate until the ring loses events, or until no more can be made.
fn rates(programs: &Programs, fixture: &Path, followed: bool) -> Result<()> {
    let mut subject = start(fixture)?;
    let pid = subject.pid().to_string();
    let (daemon, _) = programs.memmon(&["--pid", &pid])?;
    pin(daemon.pid(), OBSERVER)?;
    let follower = if followed {
        Some(Follower::start(daemon.socket())?)
    } else {
        None
    };
    let name = if followed {
        "a client follows every event"
    } else {
        "totals only"
    };
    for pairs in [50, 200, 1000, 2000, 4000, 8000, 16_000, 32_000] {
        let before = (Usage::of(daemon.pid())?, health(programs, &daemon)?);
        let start = Instant::now();
        let mut next = start;
        for _ in 0..TICKS {
            subject.ask(&format!("burst {pairs} size 4096"))?;
            next += TICK;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let took = start.elapsed().as_secs_f64();
        let is_late = took > 1.5 * (TICK * TICKS).as_secs_f64();
        let used = Usage::of(daemon.pid())?.since(before.0);
        let after = health(programs, &daemon)?;
        let events = (after.0 - before.1.0) as f64;
        let lost = after.1 - before.1.1;
        println!(
            "{:<44} {:>10.0} {:>10} {:>11.0} {:>12.2} {:>10.1}{}",
            name,
            events / took,
            lost,
            used.processor_ns as f64 / events,
            1000.0 * used.sleeps as f64 / events,
            used.processor_ns as f64 / took / 1e7,
            if is_late {
                "  (as fast as they can be made)"
            } else {
                ""
            }
        );
        debug_assert_eq!(
            after.0 - before.1.0,
            EVENTS_A_PAIR * pairs * u64::from(TICKS)
        );
        if lost > 0 || is_late {
            break;
        }
    }
    drop(follower);
    daemon.end()?;
    subject.end()
}

fn start(fixture: &Path) -> Result<Subject> {
    let mut program = Command::new("taskset");
    program.args(["-c", OBSERVED]).arg(fixture.join("fixture"));
    let mut subject = Subject::start("fixture".to_owned(), program)?;
    subject.ask("open")?;
    Ok(subject)
}

/// All threads of a process, on that processor.
fn pin(pid: u32, processor: &str) -> Result<()> {
    capture(Command::new("taskset").args(["-a", "-p", "-c", processor, &pid.to_string()]))
        .map(|_| ())
}

/// Events, and those that were lost.
fn health(programs: &Programs, daemon: &Daemon) -> Result<(u64, u64)> {
    let snapshot = daemon.snapshot(&programs.memmon)?;
    let number = |name: &str| snapshot["health"][name].as_u64().context("a health number");
    Ok((number("events")?, number("lost_events")?))
}

/// What a live allocation takes.
fn memory(programs: &Programs, fixture: &Path) -> Result<()> {
    println!();
    println!(
        "{:<44} {:>12} {:>12} {:>12} {:>12}",
        "live allocations", "kernel, MiB", "bytes each", "memmon, MiB", "snapshot, ms"
    );
    let (daemon, _) = programs.memmon(&[])?;
    let mut subjects = Vec::new();
    let before = Usage::of(daemon.pid())?;
    let mut live = 0;
    let line = |live: u64| -> Result<()> {
        let start = Instant::now();
        daemon.snapshot(&programs.memmon)?;
        let took = start.elapsed();
        let now = Usage::of(daemon.pid())?;
        println!(
            "{live:<44} {:>12.1} {:>12.0} {:>12.1} {:>12.1}",
            now.maps as f64 / 1048576.0,
            now.since(before).maps as f64 / live.max(1) as f64,
            now.memory as f64 / 1048576.0,
            took.as_secs_f64() * 1e3
        );
        Ok(())
    };
    line(0)?;
    for count in [10_000, 90_000, 900_000] {
        // A device holds so many; they are spread over programs.
        const EACH: u64 = 50_000;
        for _ in 0..u64::div_ceil(count, EACH) {
            let mut subject =
                Subject::start("holder".to_owned(), Command::new(fixture.join("fixture")))?;
            subject.ask(&format!("leak {} 4096", count.min(EACH)))?;
            subjects.push(subject);
        }
        live += count;
        line(live)?;
    }
    drop(subjects);
    daemon.end()?;
    Ok(())
}
