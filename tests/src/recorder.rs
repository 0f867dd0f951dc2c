//! Recordings that are made and replayed by the program under test.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use memmon::{recording::Recording, tables::snapshot::Snapshot};
use serde_json::Value;

use crate::{
    c::source,
    fixture::{Driver, Fault, Fixture, Layout},
};

/// A recording that is being made. It is ready: what happens from here on is in it.
#[derive(Debug)]
pub struct Recorder {
    pub child: Child,
    folder: tempfile::TempDir,
}

impl Recorder {
    pub fn start(args: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("recording");
        Self::start_in(folder, &file, args)
    }

    pub fn start_in(folder: tempfile::TempDir, file: &Path, args: &[&str]) -> Result<Self> {
        let child = crate::memmon::command(["record", "-r", "100", "-o"])
            .arg(file)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut recorder = Self { child, folder };
        let until = Instant::now() + Duration::from_secs(30);
        while Recording::open(file).is_err() {
            if recorder.child.try_wait()?.is_some() || Instant::now() > until {
                bail!("it records nothing: {}", recorder.end()?.1);
            }
            sleep(Duration::from_millis(10));
        }
        Ok(recorder)
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("recording")
    }

    /// Its exit code, and what it said.
    pub fn end(&mut self) -> Result<(Option<i32>, String)> {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGINT) };
        self.wait()
    }

    pub fn wait(&mut self) -> Result<(Option<i32>, String)> {
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut said)?;
        }
        Ok((self.child.wait()?.code(), said))
    }

    /// The recording, ended as one does.
    pub fn finish(mut self) -> Result<(PathBuf, tempfile::TempDir, String)> {
        let (code, said) = self.end()?;
        ensure!(code == Some(0), "{code:?}: {said}");
        ensure!(said.contains("recorded "), "{said}");
        Ok((
            self.file(),
            std::mem::replace(&mut self.folder, tempfile::tempdir()?),
            said,
        ))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn replay(file: &Path, args: &[&str]) -> Result<Output> {
    let mut command = crate::memmon::command(["replay"]);
    command.arg(file).args(args).stdin(Stdio::null());
    Ok(command.output()?)
}

pub fn snapshot(file: &Path, at: &str) -> Result<Snapshot> {
    let output = replay(file, &["--format", "json", "--at", at])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A recorder that has the library attached, whoever had it loaded; then a program that starts.
pub fn ready() -> Result<(Recorder, Driver)> {
    let _first = driver()?;
    let recorder = Recorder::start(&[])?;
    Ok((recorder, driver()?))
}

pub fn driver() -> Result<Driver> {
    Fixture::get(Layout::Pimpl, Fault::None)?.spawn()
}

/// The wall clock, as `--at` takes it.
fn now() -> Result<String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ", "-d"])
        .arg(format!("@{}.{:09}", since.as_secs(), since.subsec_nanos()))
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// What Perfetto's own schema finds in the trace that a recording is exported as.
pub fn perfetto(recording: &Path, folder: &Path) -> Result<Value> {
    let trace = folder.join("trace");
    let path = trace.to_str().context("plain")?;
    let output = replay(recording, &["--format", "perfetto", "-o", path])?;
    ensure!(output.status.success(), "{output:?}");
    let lab = std::env::var_os("MEMMON_LAB").context("run `cargo xtask test`")?;
    let output = Command::new(Path::new(&lab).join("perfetto/bin/python"))
        .arg(source("perfetto/read.py"))
        .arg(&trace)
        .output()
        .context("Perfetto's Python package is not there: run `cargo xtask test`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A moment between two steps: well after this one, and before the next.
pub fn between() -> Result<String> {
    sleep(Duration::from_millis(15));
    let moment = now()?;
    sleep(Duration::from_millis(15));
    Ok(moment)
}
