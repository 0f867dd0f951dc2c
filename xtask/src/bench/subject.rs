//! Who is observed: a process that does what a line tells it, and answers with one.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
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

    /// Does it `count` times; returns nanoseconds each.
    pub fn work(&mut self, work: &Work, count: u64) -> Result<f64> {
        let answer = self.ask(&format!("{} {count}", work.verb))?;
        ["ns", "ns_per_pair"]
            .iter()
            .find_map(|name| answer[*name].as_f64())
            .with_context(|| format!("{} does not say how long it took: {answer}", self.name))
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
