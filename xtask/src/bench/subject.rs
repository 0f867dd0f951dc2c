//! Who is observed: a process that does what a line tells it, and answers with one.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::shown;

/// Something that a subject does many times.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub name: &'static str,
    /// What the subject calls it.
    verb: &'static str,
    /// How often in one turn.
    pub count: u64,
}

impl Work {
    pub const fn new(name: &'static str, verb: &'static str, count: u64) -> Self {
        Self { name, verb, count }
    }
}

#[derive(Debug)]
pub struct Subject {
    pub name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Subject {
    pub fn start(name: String, mut program: Command) -> Result<Self> {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run `{}`", shown(&program)))?;
        Ok(Self {
            name,
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().context("its output is a pipe")?),
            child,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ask(&mut self, line: &str) -> Result<Value> {
        let input = self.input.as_mut().context("its input is a pipe")?;
        writeln!(input, "{line}").with_context(|| format!("{} takes no more", self.name))?;
        self.answer()
    }

    pub fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            bail!("{} ended ({})", self.name, self.child.wait()?);
        }
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("{} answers `{}`", self.name, line.trim()))?;
        if answer["ok"] == false {
            bail!("{} refuses: {}", self.name, answer["error"]);
        }
        Ok(answer)
    }

    /// Does it `count` times; returns nanoseconds each, of the processor and not of the clock: what else the machine
    /// does counts for less.
    pub fn work(&mut self, work: &Work, count: u64) -> Result<f64> {
        let before = self.processor_ns()?;
        self.ask(&format!("{} {count}", work.verb))?;
        let after = self.processor_ns()?;
        Ok((after - before) as f64 / count as f64)
    }

    /// What the thread that does the work has used so far.
    fn processor_ns(&self) -> Result<u64> {
        // The kernel brings it up to date when the thread goes to sleep, as it does after its answer.
        std::thread::sleep(Duration::from_millis(3));
        let path = format!("/proc/{}/schedstat", self.pid());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let first = text.split(' ').next().unwrap_or_default();
        first
            .parse()
            .with_context(|| format!("{path} says `{}`", text.trim()))
    }

    /// Lets it end by itself.
    pub fn end(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} did not end well ({status})", self.name);
        }
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
