//! The program under test: its binary, a daemon of one's own, and the numbers of a snapshot.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use memmon::tables::snapshot::{Process, Snapshot, Usage};

/// The release binary, or the one that `MEMMON_BIN` names.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MEMMON_BIN") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    target.join(profile).join("memmon-ebpf")
}

/// The program with these arguments, ready to run.
pub fn command<I, S>(args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new(binary());
    command.args(args);
    command
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> anyhow::Result<Output> {
    command(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}; build it first", binary().display()))
}

/// One snapshot by these arguments, as JSON.
pub fn query(args: &[&str]) -> anyhow::Result<Snapshot> {
    let mut all = vec!["-q", "--format", "json"];
    all.extend(args);
    let output = run(&all)?;
    if !output.status.success() {
        bail!(
            "memmon-ebpf {all:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("the snapshot is not of the schema")
}

/// A child that does not outlive its test, however that ends.
#[derive(Debug)]
pub struct Ward(pub Child);

impl Ward {
    /// Asks it to end, and waits for that.
    pub fn end(mut self) -> anyhow::Result<std::process::ExitStatus> {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.0.id().cast_signed(), libc::SIGTERM) };
        Ok(self.0.wait()?)
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon with a socket of its own, which ends with this value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
}

impl Daemon {
    pub fn start(args: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, |_| {}, args)
    }

    /// In a directory of the caller's, started as `prepare` wants it.
    pub fn start_in(
        directory: tempfile::TempDir,
        prepare: impl FnOnce(&mut Command),
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new("env");
        prepare(&mut command);
        Self::start_by(directory, &mut command, args)
    }

    /// By a command that ends up executing the program, whose command line comes behind its own.
    pub fn start_by(
        directory: tempfile::TempDir,
        launcher: &mut Command,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        Self::start_copy(&binary(), directory, launcher, args)
    }

    /// The same with another file of the program, as others can run it.
    pub fn start_copy(
        program: &Path,
        directory: tempfile::TempDir,
        launcher: &mut Command,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let socket = directory.path().join("socket");
        // What a killed daemon left is no sign of this one.
        let before = identity(&socket);
        let mut child = launcher
            .arg(program)
            .args(["serve", "--socket"])
            .arg(&socket)
            .args(args)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}; build it first", program.display()))?;
        let until = Instant::now() + Duration::from_secs(30);
        while identity(&socket) == before {
            if let Some(status) = child.try_wait()? {
                bail!("the daemon ended: {status}");
            }
            if Instant::now() > until {
                let _ = child.kill();
                bail!("the daemon did not get ready");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { child, directory })
    }

    /// Ends it as `kill -9` does; what it leaves behind is in the directory.
    pub fn kill(mut self) -> anyhow::Result<tempfile::TempDir> {
        self.child.kill()?;
        self.child.wait()?;
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir()?);
        Ok(directory)
    }

    /// Asks it to end, and waits for that.
    pub fn terminate(mut self) -> anyhow::Result<tempfile::TempDir> {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the daemon: {status}");
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir()?);
        Ok(directory)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// What it knows now.
    pub fn snapshot(&self) -> anyhow::Result<Snapshot> {
        self.snapshot_with(&[])
    }

    pub fn snapshot_with(&self, args: &[&str]) -> anyhow::Result<Snapshot> {
        let socket = self.socket();
        let mut all = vec!["--socket", socket.to_str().context("a plain path")?];
        all.extend(args);
        query(&all)
    }

    /// Snapshots until `wanted` finds what it looks for in one.
    pub fn wait_for<T>(
        &self,
        what: &str,
        mut wanted: impl FnMut(&Snapshot) -> Option<T>,
    ) -> anyhow::Result<T> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let snapshot = self.snapshot()?;
            if let Some(found) = wanted(&snapshot) {
                return Ok(found);
            }
            if Instant::now() > until {
                bail!("waited in vain for {what}: {snapshot:#?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // It detaches and removes its socket.
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

fn identity(path: &Path) -> Option<(u64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.ino(), meta.ctime_nsec()))
}

/// The process of a snapshot.
pub fn process(snapshot: &Snapshot, pid: u32) -> Option<&Process> {
    snapshot.processes.iter().find(|process| process.pid == pid)
}

/// A usage row of it.
pub fn usage<'a>(snapshot: &'a Snapshot, pid: u32, device: i64, pool: &str) -> Option<&'a Usage> {
    process(snapshot, pid)?
        .usage
        .as_ref()?
        .iter()
        .find(|row| row.device == Some(device) && row.pool == pool)
}

/// Charged bytes; 0 where there is no such row in a process that is known, none where the number
/// is not known.
pub fn charged(snapshot: &Snapshot, pid: u32, device: i64, pool: &str) -> Option<u64> {
    process(snapshot, pid)?.usage.as_ref()?;
    usage(snapshot, pid, device, pool).map_or(Some(0), |row| row.charged_bytes)
}
