//! The live view on a terminal.
//!
//! Its only source is a watch channel of snapshots. [`app`] is the state and what keys do to it, without any I/O;
//! [`draw`] turns the state into cells; [`terminal`] and [`input`] are the only parts that know a terminal.

mod app;
mod draw;
mod input;
mod keys;
mod rows;
pub mod source;
mod terminal;
mod theme;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::app::{App, Wish};
use self::input::Input;
use self::terminal::Terminal;
use self::theme::Theme;
use super::environment;
use crate::tables::snapshot::Snapshot;

#[derive(Clone, Debug)]
pub struct Options {
    /// New snapshots are shown no more often than this.
    pub refresh: Duration,
    /// What is observed, in words; where empty, what the snapshot says.
    pub scope: String,
    pub color: bool,
    pub ascii: bool,
}

impl Options {
    /// Colours unless `NO_COLOR` says otherwise; plain ASCII where the locale is not UTF-8.
    pub fn from_environment(refresh: Duration, scope: String) -> Self {
        Self {
            refresh,
            scope,
            color: environment::color(),
            ascii: !environment::utf8(),
        }
    }
}

/// Why the view ended without anything having gone wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The user left.
    Quit,
    /// SIGINT, SIGTERM, SIGHUP or SIGQUIT arrived: this number.
    Signal(i32),
    /// The terminal is no longer there.
    TerminalGone,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} is not a terminal; use --format to choose another output, or -q for one snapshot")]
    NotATerminal(&'static str),
    #[error("the terminal could not be used ({0}); use --format to choose another output")]
    Terminal(io::Error),
    #[error("signals cannot be received ({0}); use --format to choose another output")]
    Signals(io::Error),
    #[error("a part of memmon-ebpf failed, its message is above; please report it")]
    Panicked,
}

/// Shows snapshots until the user leaves. Whatever happens, the terminal is left as it was found;
/// dropping the future does so too.
pub async fn run(source: watch::Receiver<Arc<Snapshot>>, options: Options) -> Result<Exit, Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let terminal = Terminal::enter()?;
    let input = Input::start(terminal.input()).map_err(Error::Terminal)?;
    let ended = show(source, options, terminal, input, &mut signals).await;
    match ended {
        Err(Error::Terminal(e)) if terminal::is_gone(&e) => Ok(Exit::TerminalGone),
        ended => ended,
    }
}

async fn show(
    mut source: watch::Receiver<Arc<Snapshot>>,
    options: Options,
    mut terminal: Terminal,
    mut input: Input,
    signals: &mut Signals,
) -> Result<Exit, Error> {
    let mut app = App::new(Theme::new(options.color, options.ascii), options.scope);
    app.show(source.borrow_and_update().clone());
    // A little earlier than the source's own pace: else its jitter would make us miss every other snapshot.
    let pace = options.refresh * 9 / 10;
    let mut next = Instant::now() + pace;
    let mut news_at = Instant::now();
    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut dirty = true;
    loop {
        // A terminal that is slow to take a frame is given fewer of them.
        if dirty && terminal.is_idle() {
            terminal
                .draw(|buffer| draw::frame(&mut app, buffer))
                .map_err(Error::Terminal)?;
            dirty = false;
        }
        tokio::select! {
            biased;
            () = terminal::panicked() => return Err(Error::Panicked),
            arrived = signals.next() => match arrived {
                Arrived::End(number) => return Ok(Exit::Signal(number)),
                Arrived::Stop => terminal.suspend().map_err(Error::Terminal)?,
                Arrived::Continue => terminal.resume().map_err(Error::Terminal)?,
                Arrived::Resize => {}
            },
            flushed = terminal.flushed() => {
                flushed.map_err(Error::Terminal)?;
                continue;
            }
            key = input.next() => match key {
                None => return Ok(Exit::TerminalGone),
                Some(key) => match app.key(key) {
                    Wish::Nothing => continue,
                    Wish::Draw => {}
                    Wish::Redraw => terminal.forget(),
                    Wish::Suspend => terminal.suspend().map_err(Error::Terminal)?,
                    Wish::Quit => return Ok(Exit::Quit),
                },
            },
            alive = news(&mut source, next), if !app.source_ended() => {
                if alive {
                    next = Instant::now() + pace;
                    news_at = Instant::now();
                    app.show(source.borrow_and_update().clone());
                } else {
                    app.end_source();
                }
            }
            _ = clock.tick() => {
                let quiet = news_at.elapsed();
                if !app.set_quiet((quiet > options.refresh * 3).then_some(quiet.as_secs())) {
                    continue;
                }
            }
        }
        dirty = true;
    }
}

/// Whether there is a new snapshot (true, not before its time) or will never be one again (false).
async fn news(source: &mut watch::Receiver<Arc<Snapshot>>, not_before: Instant) -> bool {
    sleep_until(not_before).await;
    source.changed().await.is_ok()
}

enum Arrived {
    End(i32),
    Stop,
    Continue,
    Resize,
}

struct Signals {
    ends: [(Signal, i32); 4],
    stop: Signal,
    resume: Signal,
    resize: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let end = |number: i32| signal(SignalKind::from_raw(number)).map(|s| (s, number));
        Ok(Self {
            ends: [
                end(libc::SIGTERM)?,
                end(libc::SIGHUP)?,
                end(libc::SIGINT)?,
                end(libc::SIGQUIT)?,
            ],
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            resume: signal(SignalKind::from_raw(libc::SIGCONT))?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Arrived {
        let [(a, a_no), (b, b_no), (c, c_no), (d, d_no)] = &mut self.ends;
        tokio::select! {
            _ = a.recv() => Arrived::End(*a_no),
            _ = b.recv() => Arrived::End(*b_no),
            _ = c.recv() => Arrived::End(*c_no),
            _ = d.recv() => Arrived::End(*d_no),
            _ = self.stop.recv() => Arrived::Stop,
            _ = self.resume.recv() => Arrived::Continue,
            _ = self.resize.recv() => Arrived::Resize,
        }
    }
}
