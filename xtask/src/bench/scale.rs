//! How it scales: with the processes that are observed, the threads of one, and the chips of a device.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    median,
    observers::Programs,
    parts::Bench,
    subject::{Subject, Work},
    usage::Usage,
};
use crate::shell::capture;

pub fn measure(bench: Bench<'_>) -> Result<()> {
    processes(bench)?;
    threads(bench)?;
    chips(bench)
}

fn start(bench: Bench<'_>, opening: &str) -> Result<Subject> {
    let program = Command::new(bench.fixture.join("pimpl/fixture"));
    let mut subject = Subject::start("fixture".to_owned(), program)?;
    subject.ask(opening)?;
    Ok(subject)
}

fn processes(bench: Bench<'_>) -> Result<()> {
    println!();
    println!(
        "{:<20} {:>10} {:>10} {:>14} {:>12} {:>16} {:>12}",
        "processes",
        "start, ms",
        "-q, ms",
        "-q, daemon, ms",
        "memmon, MiB",
        "a refresh, ms",
        "idle, %"
    );
    let mut subjects = Vec::new();
    for count in [1_usize, 10, 100, 1000] {
        while subjects.len() < count {
            let mut subject = start(bench, "open")?;
            subject.ask("alloc a DRAM 1048576 2048")?;
            subject.ask("alloc b L1 8192 1024")?;
            subjects.push(subject);
        }
        let alone = timed(bench.rounds.min(5), || query(bench.programs, &[]))?;
        let (daemon, took) = bench.programs.memmon(&["-r", "100"])?;
        let asked = timed(bench.rounds.min(5), || {
            daemon.snapshot(&bench.programs.memmon).map(|_| ())
        })?;
        let idle = processor(daemon.pid(), Duration::from_secs(4))?;
        // The same with somebody who looks ten times a second.
        let mut watcher = Command::new(&bench.programs.memmon)
            .args(["-r", "100", "--format", "csv", "-d", "0", "--socket"])
            .arg(daemon.socket())
            .stdout(std::process::Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(500));
        let watched = processor(daemon.pid(), Duration::from_secs(3));
        let _ = watcher.kill();
        let _ = watcher.wait();
        println!(
            "{count:<20} {:>10.0} {alone:>10.1} {asked:>14.1} {:>12.1} {:>16.2} {idle:>12.2}",
            took.as_secs_f64() * 1e3,
            Usage::of(daemon.pid())?.memory as f64 / 1048576.0,
            // Of a tenth of a second.
            (watched? - idle).max(0.0),
        );
        daemon.end()?;
    }
    Ok(())
}

/// Per cent of a processor.
fn processor(pid: u32, time: Duration) -> Result<f64> {
    let (before, start) = (Usage::of(pid)?, Instant::now());
    std::thread::sleep(time);
    let used = Usage::of(pid)?.since(before);
    Ok(used.processor_ns as f64 / start.elapsed().as_secs_f64() / 1e7)
}

fn query(programs: &Programs, words: &[&str]) -> Result<()> {
    let mut command = Command::new(&programs.memmon);
    // Whatever daemon may run here is not asked.
    command.args(["-q", "--format", "json"]).args(words);
    capture(&mut command).map(|_| ())
}

/// Milliseconds, the median.
fn timed(rounds: u32, mut turn: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        turn()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&times))
}

/// Nobody and memmon take turns; what is counted is the processor time of all threads.
fn threads(bench: Bench<'_>) -> Result<()> {
    const PAIRS: u64 = 100_000;
    println!();
    println!(
        "{:<20} {:>16} {:>16} {:>10}",
        "threads", "nobody, ns", "memmon, ns", "added, ns"
    );
    let mut subject = start(bench, "open")?;
    let pid = subject.pid();
    for threads in [1, 2, 4, 8, 16] {
        let mut turns = [Vec::new(), Vec::new()];
        for _ in 0..bench.rounds.min(5) {
            turns[0].push(
                bench
                    .programs
                    .alone(pid, || burst(&mut subject, PAIRS, threads))?,
            );
            turns[1].push(bench.programs.alone(pid, || {
                let (daemon, _) = bench.programs.memmon(&["--pid", &pid.to_string()])?;
                let took = burst(&mut subject, PAIRS, threads)?;
                daemon.end().map(|_| took)
            })?);
        }
        let [nobody, memmon] = turns.each_ref().map(|turns| median(turns));
        println!(
            "{threads:<20} {nobody:>16.0} {memmon:>16.0} {:>10.0}",
            memmon - nobody
        );
    }
    subject.end()
}

/// Nanoseconds of processor time a pair, of threads that are gone by then.
fn burst(subject: &mut Subject, pairs: u64, threads: u32) -> Result<f64> {
    let before = processor_of_all(subject.pid())?;
    subject.ask(&format!("burst {pairs} threads {threads} size 4096"))?;
    let after = processor_of_all(subject.pid())?;
    Ok((after - before) * 1e9 / pairs as f64)
}

/// Seconds, in the kernel's ticks of 10 ms.
fn processor_of_all(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = rest.split(' ').skip(11).take(2);
    Ok(ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0)
}

fn chips(bench: Bench<'_>) -> Result<()> {
    const PAIR: Work = Work::new("allocate + free", "burst", 20_000);
    println!();
    println!(
        "{:<20} {:>16} {:>16} {:>10} {:>10}",
        "chips", "nobody, ns", "memmon, ns", "added, ns", "ratio"
    );
    for chips in [1, 2, 4, 8, 16, 32] {
        let mut subject = start(bench, &format!("open chips {chips}"))?;
        let pid = subject.pid();
        let mut turns = [Vec::new(), Vec::new()];
        for _ in 0..bench.rounds.min(5) {
            turns[0].push(
                bench
                    .programs
                    .alone(pid, || subject.work(&PAIR, PAIR.count))?,
            );
            turns[1].push(bench.programs.alone(pid, || {
                let (daemon, _) = bench.programs.memmon(&["--pid", &pid.to_string()])?;
                let took = subject.work(&PAIR, PAIR.count)?;
                daemon.end().map(|_| took)
            })?);
        }
        let [nobody, memmon] = turns.each_ref().map(|turns| median(turns));
        println!(
            "{chips:<20} {nobody:>16.0} {memmon:>16.0} {:>10.0} {:>10.2}",
            memmon - nobody,
            memmon / nobody
        );
        subject.end()?;
    }
    Ok(())
}
