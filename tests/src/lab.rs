//! The real runtime on mock devices: the workloads of `tests/ttnn`, and what its own allocator
//! says at each of their steps.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// The releases to test on.
pub fn versions() -> anyhow::Result<Vec<String>> {
    let text = std::env::var("MEMMON_VERSIONS").context(
        "MEMMON_VERSIONS and MEMMON_LAB name the releases of ttnn to test on: run `cargo xtask test`, which sets them",
    )?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

pub fn python(version: &str) -> anyhow::Result<PathBuf> {
    let lab = std::env::var_os("MEMMON_LAB")
        .context("MEMMON_LAB is not set: run `cargo xtask test`, which does")?;
    let python = Path::new(&lab)
        .join(format!("ttnn-{version}"))
        .join("bin/python");
    if !python.exists() {
        bail!(
            "{} is not there: run `cargo xtask lab {version}`",
            python.display()
        );
    }
    Ok(python)
}

/// A workload, ready to run.
pub fn command(version: &str, script: &str, args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(python(version)?);
    command
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("ttnn")
                .join(script),
        )
        .args(args);
    Ok(command)
}

/// What the runtime said at a step.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: String,
    pub pid: u32,
    /// Allocations that failed so far.
    pub failed: u64,
    /// Chip → pool → bytes.
    pub truth: BTreeMap<i64, BTreeMap<String, u64>>,
    pub capacity: BTreeMap<i64, BTreeMap<String, u64>>,
    /// All that it said.
    pub said: Value,
}

/// A workload that waits after each step until it is told to go on.
#[derive(Debug)]
pub struct Workload {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// It goes on with the next [`Workload::step`].
    waiting: bool,
}

impl Workload {
    pub fn start(version: &str, script: &str, args: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(command(version, script, args)?)
    }

    pub fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("its output")?;
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            waiting: false,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Goes on to the next step; none when it has ended.
    pub fn step(&mut self) -> anyhow::Result<Option<Step>> {
        if self.waiting
            && let Some(stdin) = &mut self.stdin
        {
            // It may have died meanwhile: its end is read below.
            let _ = stdin.write_all(b"\n");
            let _ = stdin.flush();
        }
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        self.waiting = true;
        parse(&line).map(Some)
    }

    /// The next step, which there must be.
    pub fn expect_step(&mut self) -> anyhow::Result<Step> {
        self.step()?
            .context("the workload ended, although another step was expected")
    }

    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        drop(self.stdin.take());
        Ok(self.child.wait()?)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> anyhow::Result<Step> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("no step: {line}"))?;
    Ok(Step {
        name: value["step"].as_str().unwrap_or_default().to_owned(),
        pid: u32::try_from(value["pid"].as_u64().context("pid")?)?,
        failed: value["failed"].as_u64().unwrap_or_default(),
        truth: pools(&value["truth"])?,
        capacity: pools(&value["capacity"])?,
        said: value,
    })
}

fn pools(value: &Value) -> anyhow::Result<BTreeMap<i64, BTreeMap<String, u64>>> {
    let mut chips = BTreeMap::new();
    for (chip, pools) in value.as_object().into_iter().flatten() {
        let mut bytes = BTreeMap::new();
        for (pool, number) in pools.as_object().into_iter().flatten() {
            bytes.insert(pool.clone(), number.as_u64().context("a number of bytes")?);
        }
        chips.insert(chip.parse()?, bytes);
    }
    Ok(chips)
}
