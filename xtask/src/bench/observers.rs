//! Who observes: nobody, empty probes, or memmon; for the others see `tools`.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::scratch;
use crate::shell::{capture, run, shown};

#[derive(Debug)]
pub struct Programs {
    pub memmon: PathBuf,
    pub bare: PathBuf,
}

impl Programs {
    /// Whether nobody observes that process; if not, who says so.
    fn free(&self, pid: u32) -> Result<()> {
        capture(
            Command::new(&self.bare)
                .args(["--free", &pid.to_string()])
                .env("RUST_BACKTRACE", "0"),
        )?;
        Ok(())
    }

    /// Does `turn` while nobody else observes that process, and again where somebody came in between.
    pub fn alone<T>(&self, pid: u32, mut turn: impl FnMut() -> Result<T>) -> Result<T> {
        const PATIENCE: Duration = Duration::from_secs(120);
        let until = Instant::now() + PATIENCE;
        loop {
            let done = match self.free(pid) {
                Ok(()) => {
                    let done = turn()?;
                    self.free(pid).map(|()| done)
                }
                Err(error) => Err(error),
            };
            match done {
                Ok(done) => return Ok(done),
                Err(error) if Instant::now() > until => {
                    return Err(error.context("somebody else observes, and goes on to"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Probes that do nothing, where memmon places its own.
    pub fn bare(&self, pid: u32, words: &[&str]) -> Result<Observer> {
        let mut program = Command::new(&self.bare);
        program.args(words).arg(pid.to_string());
        Observer::ready(program, "")
    }

    /// `memmon-ebpf serve`, attached; and how long that took.
    pub fn memmon(&self, words: &[&str]) -> Result<(Daemon, Duration)> {
        let (folder, path) = scratch()?;
        let socket = path.join("socket");
        let mut program = Command::new(&self.memmon);
        program.args(["serve", "--socket"]).arg(&socket).args(words);
        let start = Instant::now();
        let mut observer = Observer::start(program)?;
        // It makes its socket when it is attached.
        while !socket.exists() {
            if let Some(status) = observer.child.try_wait()? {
                bail!("memmon-ebpf ended ({status})");
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("memmon-ebpf is not ready after a minute");
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        let took = start.elapsed();
        Ok((
            Daemon {
                observer,
                socket,
                folder,
            },
            took,
        ))
    }
}

/// A process that observes until its input ends.
#[derive(Debug)]
pub struct Observer {
    child: Child,
}

impl Observer {
    fn start(mut program: Command) -> Result<Self> {
        let child = program
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{}`", shown(&program)))?;
        Ok(Self { child })
    }

    /// One that is ready when it says so: with a line that has `word` in it.
    pub fn ready(mut program: Command, word: &str) -> Result<Self> {
        program.stdout(Stdio::piped());
        let name = shown(&program);
        let mut observer = Self::start(program)?;
        let output = observer.child.stdout.take();
        let mut output = BufReader::new(output.context("its output is a pipe")?);
        let mut line = String::new();
        while line.is_empty() || !line.contains(word) {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                bail!("`{name}` ended before it observed");
            }
        }
        // What else it says, it says to nobody; but it must not wait for somebody.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(observer)
    }

    /// Lets it end, by the end of its input.
    pub fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the empty probes ended with {status}");
        }
        Ok(())
    }

    /// Asks it to end; an error if it did so already.
    pub fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("an observer ended while it should observe ({status})");
        }
        run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[derive(Debug)]
pub struct Daemon {
    observer: Observer,
    socket: PathBuf,
    #[expect(dead_code, reason = "removed when this goes")]
    folder: tempfile::TempDir,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.observer.child.id()
    }

    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// One snapshot, as JSON.
    pub fn snapshot(&self, memmon: &PathBuf) -> Result<serde_json::Value> {
        let text = capture(
            Command::new(memmon)
                .args(["-q", "--format", "json", "--socket"])
                .arg(&self.socket),
        )?;
        serde_json::from_str(&text).context("its snapshot is no JSON")
    }

    /// Asks it to end, and says how long that took.
    pub fn end(mut self) -> Result<Duration> {
        let pid = self.pid().to_string();
        let start = Instant::now();
        run(Command::new("kill").args(["-TERM", &pid]))?;
        let status = self.observer.child.wait()?;
        let took = start.elapsed();
        if !status.success() {
            bail!("memmon-ebpf ended with {status}");
        }
        Ok(took)
    }
}
