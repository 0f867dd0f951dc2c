//! What the program and its BPF programs say about themselves (`--log`): on standard error, and
//! never into a view that has the screen.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use env_logger::{Builder, Target};
use log::LevelFilter;

/// What is kept back, while something else has the terminal.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);
/// How much of it.
const MOST: usize = 64 << 10;

/// Before the BPF programs are loaded: they are told the level then.
pub fn start(level: LevelFilter) {
    let started = Builder::new()
        // Libraries tell more than anybody wants to know.
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("memmon", level)
        .target(Target::Pipe(Box::new(Out)))
        .try_init();
    // It fails where there is one already, which then is the right one.
    let _ = started;
}

/// Keeps messages back until it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Hold(());

pub fn hold() -> Hold {
    *held() = Some(Vec::new());
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(text) = held().take() {
            let _ = io::stderr().write_all(&text);
        }
    }
}

fn held() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Out;

impl Write for Out {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match held().as_mut() {
            Some(kept) if kept.len() + text.len() <= MOST => kept.extend_from_slice(text),
            // The first messages say what happened; the rest would say it again.
            Some(_) => {}
            None => io::stderr().write_all(text)?,
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
