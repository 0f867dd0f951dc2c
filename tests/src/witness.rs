//! Programs that write down what they themselves have, and what the daemon must tell of them then.
//!
//! A line of JSON a step, after which the program waits for a line: `live` (key, bytes, pool, api, device), how many
//! `allocations` there were and frees that failed, and `failures` (bytes, code, pool, api, device). A device that is
//! not known is `null`.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::{live::LiveList, snapshot::Snapshot};
use serde_json::{Value, json};

use crate::{
    memmon::{Daemon, Ward, process},
    optional::NotRun,
    raw::Connection,
};

/// The daemon's counters are of all processes.
static ALONE: Mutex<()> = Mutex::new(());

/// While it is held, none of these programs runs that another test of this file observes.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the program beside one that made its libraries known, and compares at each of its steps.
///
/// The names of the steps.
pub fn observed(runtimes: &[&str], command: impl Fn() -> Command) -> Result<Vec<String>> {
    let _alone = alone();
    let mut before = Witness::start(&mut command())?;
    before.step()?.context("the first step")?;
    let daemon = Daemon::start(&[])?;
    // Start times are told in hundredths of a second: surely after the attachment.
    thread::sleep(Duration::from_millis(30));
    Witness::start(&mut command())?.compare(&daemon, runtimes)
}

/// A program with this many failing calls of genuine libraries (`cuda/failing.c`): they are told with right sizes, and
/// why they failed. Not run where they do not fail, for there is a GPU.
pub fn failing(runtimes: &[&str], calls: usize, command: impl Fn() -> Command) -> Result<()> {
    let mut unobserved = command();
    unobserved.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = unobserved.spawn()?;
    // It may end without having read all of it.
    let _ = child.stdin.take().context("stdin")?.write_all(b"\n\n");
    if child.wait()?.code() == Some(77) {
        let why = "calls that should fail do not: this machine has a GPU";
        return Err(NotRun(why.to_owned()).into());
    }
    let steps = observed(runtimes, command)?;
    let wanted = format!("{calls} failed");
    ensure!(steps == ["loaded", wanted.as_str()], "{steps:?}");
    Ok(())
}

#[derive(Debug)]
pub struct Witness {
    child: Ward,
    lines: BufReader<ChildStdout>,
    go_on: ChildStdin,
}

impl Witness {
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child: Child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let lines = BufReader::new(child.stdout.take().context("stdout")?);
        let go_on = child.stdin.take().context("stdin")?;
        let child = Ward(child);
        Ok(Self {
            child,
            lines,
            go_on,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// What it has at its next step; none at its end.
    pub fn step(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        (!line.is_empty())
            .then(|| serde_json::from_str(&line).with_context(|| line.clone()))
            .transpose()
    }

    pub fn go_on(&mut self) -> Result<()> {
        Ok(writeln!(self.go_on)?)
    }

    /// Steps through it to its end, and compares at each.
    ///
    /// The names of the steps.
    pub fn compare(mut self, daemon: &Daemon, runtimes: &[&str]) -> Result<Vec<String>> {
        let mut steps = Vec::new();
        while let Some(said) = self.step()? {
            let step = said["step"].as_str().unwrap_or_default().to_owned();
            same(daemon, self.pid(), runtimes, &said).with_context(|| format!("step {step}"))?;
            steps.push(step);
            self.go_on()?;
        }
        let status = self.child.0.wait()?;
        ensure!(status.success(), "the program: {status}");
        Ok(steps)
    }
}

/// Key, bytes, pool, function, device.
type One = (u64, u64, String, Option<String>, Option<i64>);
/// Bytes, code, pool, function, device.
type Failed = (u64, Option<i64>, String, Option<String>, Option<i64>);

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn live_as_said(said: &Value) -> Result<Vec<One>> {
    let one = |one: &Value| {
        Some((
            one["key"].as_u64()?,
            one["bytes"].as_u64()?,
            text(&one["pool"])?,
            text(&one["api"]),
            one["device"].as_i64(),
        ))
    };
    let all = said["live"].as_array().context("live")?.iter().map(one);
    let mut all: Vec<One> = all.collect::<Option<_>>().context("an allocation")?;
    all.sort();
    Ok(all)
}

fn failures_as_said(said: &Value) -> Result<Vec<Failed>> {
    let one = |one: &Value| {
        Some((
            one["bytes"].as_u64()?,
            one["code"].as_i64(),
            text(&one["pool"])?,
            text(&one["api"]),
            one["device"].as_i64(),
        ))
    };
    let all = said["failures"].as_array().context("failures")?.iter();
    let mut all: Vec<Failed> = all.map(one).collect::<Option<_>>().context("a failure")?;
    all.sort();
    Ok(all)
}

fn live_as_seen(daemon: &Daemon, pid: u32, runtimes: &[&str]) -> Result<Vec<One>> {
    let mut answer = Connection::open(&daemon.socket())?.ask(json!({"live": {"pids": [pid]}}))?;
    let list: LiveList = serde_json::from_value(answer["live"].take())?;
    ensure!(list.omitted == 0);
    let mut all = Vec::new();
    for one in list.allocations {
        ensure!(runtimes.contains(&one.runtime.as_str()), "{one:?}");
        ensure!(one.charged_bytes == Some(one.requested_bytes), "{one:?}");
        let [device] = one.devices.as_slice() else {
            anyhow::bail!("on one device: {one:?}");
        };
        all.push((
            one.key,
            one.requested_bytes,
            one.pool,
            one.api,
            device.device,
        ));
    }
    all.sort();
    Ok(all)
}

fn failures_as_seen(snapshot: &Snapshot, pid: u32) -> Vec<Failed> {
    let own = snapshot.failures.iter().filter(|one| one.pid == pid);
    let mut all: Vec<Failed> = own
        .map(|one| {
            (
                one.requested_bytes,
                one.error_code,
                one.pool.clone(),
                one.api.clone(),
                one.devices.first().copied().flatten(),
            )
        })
        .collect();
    all.sort();
    all
}

/// The daemon tells what the process says of itself: one by one, in its totals, and what failed.
pub fn same(daemon: &Daemon, pid: u32, runtimes: &[&str], said: &Value) -> Result<()> {
    let wanted = live_as_said(said)?;
    let found = live_as_seen(daemon, pid, runtimes)?;
    let without = |some: &[One], others: &[One]| -> Vec<One> {
        let here = some.iter().filter(|one| !others.contains(one));
        here.cloned().collect()
    };
    ensure!(
        wanted == found,
        "missing {:?}, too many {:?}",
        without(&wanted, &found),
        without(&found, &wanted)
    );
    let snapshot = daemon.snapshot()?;
    let process = process(&snapshot, pid).context("the process")?;
    ensure!(process.since == "start", "since {}", process.since);
    let rows = process.usage.as_ref().context("its usage")?;

    let mut held = BTreeMap::<_, (u64, u64)>::new();
    for (_, bytes, pool, _, device) in &wanted {
        let sum = held.entry((*device, pool.clone())).or_default();
        *sum = (sum.0 + bytes, sum.1 + 1);
    }
    let mut told = BTreeMap::<_, (u64, u64)>::new();
    let (mut allocations, mut frees, mut failed) = (0, 0, 0);
    for row in rows {
        ensure!(
            row.exact && runtimes.contains(&row.runtime.as_str()),
            "{row:?}"
        );
        let [requested, charged, live] =
            [row.requested_bytes, row.charged_bytes, row.live_allocations];
        ensure!(requested == charged, "{row:?}");
        let live = live.context("live")?;
        if live > 0 {
            told.insert(
                (row.device, row.pool.clone()),
                (charged.context("charged")?, live),
            );
        }
        allocations += row.allocations.unwrap_or_default();
        frees += row.frees.unwrap_or_default();
        failed += row.failed_allocations.unwrap_or_default();
    }
    ensure!(held == told, "held: {held:?}, told: {told:?}");
    let number = |what: &str| said[what].as_u64().with_context(|| what.to_owned());
    let made = number("allocations")?;
    // What went with its context was freed, too.
    let ended = made - wanted.len() as u64;
    ensure!(
        (allocations, frees) == (made, ended),
        "{allocations} and {frees} of {made} and {ended}"
    );

    let failures = failures_as_said(said)?;
    ensure!(
        failed == failures.len() as u64,
        "{failed} failures of {}",
        failures.len()
    );
    let seen = failures_as_seen(&snapshot, pid);
    ensure!(failures == seen, "failed: {failures:?}, told: {seen:?}");
    let health = &snapshot.health;
    let odd = (
        health.unknown_frees,
        health.failed_reads,
        health.lost_events,
    );
    ensure!(odd == (0, 0, 0), "{health:?}");
    ensure!(health.failed_frees == number("failed_frees")?, "{health:?}");
    Ok(())
}
