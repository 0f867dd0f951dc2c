//! What memmon takes while nobody allocates: it is told of every process that forks, executes, exits or maps code.

use std::{
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{observers::Daemon, parts::Bench, subject::Subject, usage::Usage};

const UNRELATED: u32 = 500;
const OBSERVED: u32 = 100;
const SETTLE: Duration = Duration::from_secs(2);
const TIME: Duration = Duration::from_secs(8);

/// Programs that end with this.
#[derive(Debug, Default)]
struct Crowd(Vec<Child>);

impl Crowd {
    fn add(&mut self, count: u32, program: &str, words: &[&str]) -> Result<()> {
        for _ in 0..count {
            let child = Command::new(program)
                .args(words)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| format!("cannot run `{program}`"))?;
            self.0.push(child);
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

pub fn measure(bench: Bench<'_>) -> Result<()> {
    println!();
    println!(
        "{:<60} {:>12} {:>14} {:>12}",
        "nobody allocates", "processor, %", "wake-ups, 1/s", "forks, 1/s"
    );
    let (daemon, _) = bench.programs.memmon(&[])?;
    line("nothing more than what runs here anyway", &daemon)?;
    let mut crowd = Crowd::default();
    crowd.add(UNRELATED, "sleep", &["3600"])?;
    line(&format!("and {UNRELATED} processes that sleep"), &daemon)?;
    let mut busy = Crowd::default();
    busy.add(5, "sh", &["-c", "while :; do /bin/true; sleep 0.05; done"])?;
    line("and 5 that start 40 programs a second each", &daemon)?;
    drop(busy);
    let mut subjects = Vec::new();
    for _ in 0..OBSERVED {
        let program = Command::new(bench.fixture.join("pimpl/fixture"));
        let mut subject = Subject::start("fixture".to_owned(), program)?;
        subject.ask("alloc a DRAM 1048576 2048")?;
        subjects.push(subject);
    }
    line(
        &format!("and {OBSERVED} that hold memory and do nothing"),
        &daemon,
    )?;
    let mut looker = Crowd::default();
    let socket = daemon.socket().display().to_string();
    let words = ["--socket", &socket, "--format", "json"];
    let memmon = bench.programs.memmon.display().to_string();
    looker.add(1, &memmon, &words)?;
    line("and a client that looks every second", &daemon)?;
    drop((looker, subjects, crowd));
    daemon.end()?;
    Ok(())
}

fn line(name: &str, daemon: &Daemon) -> Result<()> {
    sleep(SETTLE);
    let (before, forks, start) = (Usage::of(daemon.pid())?, forks()?, Instant::now());
    sleep(TIME);
    let used = Usage::of(daemon.pid())?.since(before);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{name:<60} {:>12.2} {:>14.1} {:>12.0}",
        used.processor_ns as f64 / seconds / 1e7,
        used.sleeps as f64 / seconds,
        (self::forks()? - forks) as f64 / seconds
    );
    Ok(())
}

/// Of the whole machine, since it was started.
fn forks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix("processes "));
    line.context("no forks in /proc/stat")?
        .trim()
        .parse()
        .context("a number of forks")
}
