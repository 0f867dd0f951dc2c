//! A program that writes down what it allocates and frees, and whether memmon saw the same.
//!
//! Its record is one line of JSON, see `tests/stubs/record.h`; then it waits for its input to end.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    memmon::{Daemon, Ward},
    raw::Connection,
};

/// One that has done all it does, and waits.
#[derive(Debug)]
pub struct Recorded {
    ward: Ward,
    /// What it says of itself.
    pub said: Value,
}

impl Recorded {
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Self::of(child)
    }

    /// Of a child that was started with both streams piped: reads its record.
    pub fn of(mut child: Child) -> Result<Self> {
        let stdout = BufReader::new(child.stdout.take().context("stdout")?);
        Self::reading(child, stdout)
    }

    /// Of a child whose output was begun to be read.
    pub fn reading(child: Child, mut stdout: BufReader<ChildStdout>) -> Result<Self> {
        let ward = Ward(child);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let said = serde_json::from_str(&line).with_context(|| format!("no record: {line:?}"))?;
        Ok(Self { ward, said })
    }

    pub fn pid(&self) -> u32 {
        self.ward.0.id()
    }

    /// Lets it go on to its end.
    pub fn end(mut self) -> Result<()> {
        drop(self.ward.0.stdin.take());
        ensure!(self.ward.0.wait()?.success(), "the program failed");
        Ok(())
    }
}

/// Everything that is asked of the daemon, as anybody may ask it.
#[derive(Debug)]
pub struct Seen {
    pub snapshot: Value,
    live: Value,
}

impl Seen {
    pub fn of(daemon: &Daemon, pid: u32) -> Result<Self> {
        let mut client = Connection::open(&daemon.socket())?;
        let snapshot = client.ask(json!("snapshot"))?["snapshot"].take();
        let live = client.ask(json!({"live": {"pids": [pid]}}))?["live"].take();
        Ok(Self { snapshot, live })
    }

    /// The one that runs now under this pid.
    pub fn process(&self, pid: u32) -> Option<&Value> {
        let mut all = self.snapshot["processes"].as_array()?.iter();
        all.find(|process| process["pid"] == pid && process["state"] == "running")
    }
}

/// Waits until the daemon knows the process, and what it uses: the library that it has is attached to and read.
pub fn usage_known(daemon: &Daemon, pid: u32) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = Seen::of(daemon, pid)?;
        if seen.process(pid).is_some_and(|one| !one["usage"].is_null()) {
            return Ok(());
        }
        if Instant::now() > until {
            bail!(
                "the daemon does not get to know {pid}: {:#}",
                seen.snapshot["libraries"]
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

type Place = (String, Option<i64>);

fn place(value: &Value) -> Place {
    let pool = value["pool"].as_str().unwrap_or_default().to_owned();
    (pool, value["device"].as_i64())
}

/// How many, what was requested, and what is charged for it; that is not known of pools that are not charged.
type Sum = (u64, u64, Option<u64>);

/// Compares all that is seen of the process with its record: what it holds, one by one and in sum, how much it
/// allocated and freed, and what failed. `charged` is the bytes taken for so many of a pool, none where it takes none.
pub fn same(
    daemon: &Daemon,
    program: &Recorded,
    runtime: &str,
    charged: impl Fn(&str, u64) -> Option<u64>,
) -> Result<()> {
    let seen = Seen::of(daemon, program.pid())?;
    let said = &program.said;
    let number = |value: &Value, field: &str| {
        value[field]
            .as_u64()
            .with_context(|| format!("{field} of {value}"))
    };

    let mut blocks = Vec::new();
    let mut sums: BTreeMap<Place, Sum> = BTreeMap::new();
    for block in said["live"].as_array().context("live")? {
        let (place, bytes) = (place(block), number(block, "bytes")?);
        let taken = charged(&place.0, bytes);
        let sum = sums
            .entry(place.clone())
            .or_insert((0, 0, taken.map(|_| 0)));
        sum.0 += 1;
        sum.1 += bytes;
        sum.2 = sum.2.zip(taken).map(|(sum, taken)| sum + taken);
        blocks.push((place, number(block, "key")?, bytes, taken));
    }
    blocks.sort_unstable();

    let process = seen.process(program.pid()).context("it is not seen")?;
    let usage = process["usage"].as_array().context("usage")?;
    let mut rows: BTreeMap<Place, Sum> = BTreeMap::new();
    let mut counts = [0; 3];
    for row in usage.iter().filter(|row| row["runtime"] == runtime) {
        let fields = ["allocations", "frees", "failed_allocations"];
        for (count, field) in counts.iter_mut().zip(fields) {
            *count += number(row, field)?;
        }
        let live = number(row, "live_allocations")?;
        let requested = number(row, "requested_bytes")?;
        if live != 0 || requested != 0 {
            let sum = (live, requested, row["charged_bytes"].as_u64());
            ensure!(rows.insert(place(row), sum).is_none(), "two rows: {row}");
        }
    }
    ensure!(
        rows == sums,
        "rows {rows:#?}, but the program says {sums:#?}"
    );
    let failures = said["failures"].as_array().context("failures")?;
    let truth = [
        number(said, "allocations")?,
        number(said, "frees")?,
        failures.len() as u64,
    ];
    ensure!(
        counts == truth,
        "allocations, frees and failures are {counts:?}, but the program says {truth:?}"
    );

    let mut live = Vec::new();
    for one in seen.live["allocations"].as_array().context("a list")? {
        if one["runtime"] == runtime {
            let device = &one["devices"][0]["device"];
            let place = place(&json!({"pool": one["pool"], "device": device}));
            let bytes = number(one, "requested_bytes")?;
            live.push((
                place,
                number(one, "key")?,
                bytes,
                one["charged_bytes"].as_u64(),
            ));
        }
    }
    live.sort_unstable();
    ensure!(
        live == blocks,
        "live {live:#?}, but the program says {blocks:#?}"
    );

    let told: Vec<_> = seen.snapshot["failures"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|failure| failure["pid"] == program.pid() && failure["runtime"] == runtime)
        .map(|failure| {
            let (bytes, error) = (&failure["requested_bytes"], &failure["error_code"]);
            json!({"bytes": bytes, "pool": failure["pool"], "error": error})
        })
        .collect();
    ensure!(
        &told == failures,
        "failures {told:#?}, but the program says {failures:#?}"
    );
    for field in ["failed_reads", "unknown_frees"] {
        let count = number(&seen.snapshot["health"], field)?;
        ensure!(count == 0, "{count} {field}");
    }
    Ok(())
}
