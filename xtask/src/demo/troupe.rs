//! Processes that play a part, and leave the stage with the program that started them.
//!
//! Each has a pipe as its input and ends when that ends: so none survives this program, however it goes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::shell::shown;

/// One process of the demonstration. It prints one line when it is up, reads one line, and ends when its input ends.
#[derive(Debug)]
pub struct Actor {
    pub program: Command,
    /// Whether it comes back after it died.
    pub returns: bool,
}

#[derive(Debug)]
pub struct Troupe {
    over: Arc<AtomicBool>,
    keepers: Vec<JoinHandle<()>>,
}

impl Troupe {
    /// Starts all, and returns when all are up.
    pub fn start(actors: Vec<Actor>) -> Result<Self> {
        let mut troupe = Self {
            over: Arc::default(),
            keepers: Vec::new(),
        };
        let mut starting = Vec::new();
        for mut actor in actors {
            let started = Running::start(&mut actor.program)?;
            starting.push((actor, started));
        }
        for (actor, mut running) in starting {
            running
                .wait_until_up()
                .with_context(|| format!("`{}` did not start", shown(&actor.program)))?;
            let over = Arc::clone(&troupe.over);
            troupe
                .keepers
                .push(std::thread::spawn(move || keep(actor, running, &over)));
        }
        Ok(troupe)
    }
}

impl Drop for Troupe {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for keeper in self.keepers.drain(..) {
            let _ = keeper.join();
        }
    }
}

/// Watches over one of them until all is over.
fn keep(mut actor: Actor, running: Running, over: &AtomicBool) {
    const PAUSE: Duration = Duration::from_millis(50);
    const ABSENCE: u32 = 40;
    let mut running = Some(running);
    let mut absent = 0;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
        if let Some(process) = &mut running {
            if process.has_ended() {
                running = None;
                absent = 0;
            }
        } else if actor.returns {
            absent += 1;
            if absent > ABSENCE {
                running = Running::start(&mut actor.program).ok();
                absent = 0;
                if let Some(process) = &mut running {
                    let _ = process.wait_until_up();
                }
            }
        }
    }
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: Option<ChildStdin>,
}

impl Running {
    fn start(program: &mut Command) -> Result<Self> {
        let spawned = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = spawned.with_context(|| format!("cannot run `{}`", shown(program)))?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let output = self.child.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            bail!("it ended ({})", self.child.wait()?);
        }
        if let Some(input) = &mut self.input {
            input.write_all(b"\n")?;
        }
        Ok(())
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It cleans up by itself when its input ends; half a second is ample.
        drop(self.input.take());
        for _ in 0..50 {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
