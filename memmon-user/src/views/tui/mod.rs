//! The live view on a terminal.
//!
//! [`source`] is where it gets what it shows. [`app`] is the state and what keys do to it, without any I/O; [`pages`] are
//! what it shows, one at a time; [`draw`] turns the state into cells; [`terminal`] and [`input`] are the only parts that
//! know a terminal.

mod app;
mod draw;
#[cfg(fuzzing)]
pub mod fuzzing;
mod history;
mod input;
mod keys;
mod moment;
mod mouse;
mod pace;
mod pages;
mod questions;
mod screen;
mod signals;
pub mod source;
mod terminal;
mod theme;
mod units;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::app::{App, Wish};
use self::input::Input;
use self::pace::Pace;
use self::questions::Questions;
pub use self::screen::Screen;
use self::signals::{Arrived, Signals};
use self::source::Source;
use self::terminal::Terminal;
pub use self::theme::Palette;
use self::theme::Theme;
use super::environment;
use crate::tables::snapshot::Snapshot;

#[derive(Clone, Debug)]
pub struct Options {
    /// New snapshots are shown no more often than this, until keys say otherwise.
    pub refresh: Duration,
    /// What is observed, in words; where empty, what the snapshot says.
    pub scope: String,
    pub palette: Palette,
    pub ascii: bool,
    /// Whether the mouse is taken.
    pub mouse: bool,
    /// Hears how often the reader wants snapshots.
    pub pace: Option<watch::Sender<Duration>>,
}

impl Options {
    /// Colours unless `NO_COLOR` says otherwise; plain ASCII where the locale is not UTF-8.
    pub fn from_environment(refresh: Duration, scope: String) -> Self {
        Self {
            refresh,
            scope,
            palette: if environment::color() {
                let background = std::env::var("COLORFGBG").unwrap_or_default();
                Palette::of_background(&background)
            } else {
                Palette::None
            },
            ascii: !environment::utf8(),
            mouse: true,
            pace: None,
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

/// Shows what the source tells until the user leaves. Whatever happens, the terminal is left as it was found;
/// dropping the future does so too.
pub async fn run(source: Source, options: Options) -> Result<Exit, Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let terminal = Terminal::enter(options.mouse)?;
    let input = Input::start(terminal.input()).map_err(Error::Terminal)?;
    let ended = show(source, options, terminal, input, &mut signals).await;
    match ended {
        Err(Error::Terminal(e)) if terminal::is_gone(&e) => Ok(Exit::TerminalGone),
        ended => ended,
    }
}

async fn show(
    source: Source,
    options: Options,
    mut terminal: Terminal,
    mut input: Input,
    signals: &mut Signals,
) -> Result<Exit, Error> {
    let Source {
        mut snapshots,
        inspections,
        mut link,
        time,
    } = source;
    let (time_wishes, mut time_state) = time.map(|time| (time.wishes, time.state)).unzip();
    let mut questions = Questions::new(inspections);
    let mut app = App::new(Theme::of(options.palette, options.ascii), options.scope);
    app.set_pace(Pace::new(options.refresh));
    app.set_mouse(options.mouse);
    app.set_inspectable(questions.are_heard());
    app.show(snapshots.borrow_and_update().clone());
    if let Some(link) = &mut link {
        app.set_link(*link.borrow_and_update());
    }
    if let Some(state) = &mut time_state {
        app.set_time(state.borrow_and_update().clone());
    }
    let mut next = Instant::now() + app.pace.patience();
    let mut news_at = Instant::now();
    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut dirty = true;
    loop {
        if !app.is_paused() {
            questions.ask(app.wants());
        }
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
            told = input.next() => match told {
                None => return Ok(Exit::TerminalGone),
                Some(told) => match app.told(told) {
                    Wish::Nothing => continue,
                    Wish::Draw => {}
                    Wish::Redraw => terminal.forget(),
                    Wish::Mouse(wanted) => terminal.set_mouse(wanted).map_err(Error::Terminal)?,
                    Wish::Refresh(every) => {
                        next = next.min(Instant::now() + app.pace.patience());
                        if let Some(pace) = &options.pace {
                            pace.send_replace(every);
                        }
                    }
                    Wish::Time(wish) => {
                        // One that cannot be heard now is not worth waiting for.
                        if let Some(wishes) = &time_wishes {
                            let _ = wishes.try_send(wish);
                        }
                        continue;
                    }
                    Wish::Suspend => terminal.suspend().map_err(Error::Terminal)?,
                    Wish::Quit => return Ok(Exit::Quit),
                },
            },
            alive = news(&mut snapshots, next), if !app.source_ended() => {
                if alive {
                    next = Instant::now() + app.pace.patience();
                    news_at = Instant::now();
                    app.show(snapshots.borrow_and_update().clone());
                    questions.refresh();
                } else {
                    app.end_source();
                }
            }
            answer = questions.answer() => {
                app.set_inspectable(questions.are_heard());
                if let Some(list) = answer {
                    app.take(list);
                }
            }
            state = changed(&mut link) => match state {
                Some(state) => app.set_link(state),
                None => link = None,
            },
            state = changed(&mut time_state) => match state {
                Some(state) => app.set_time(state),
                None => time_state = None,
            },
            _ = clock.tick() => {
                let quiet = news_at.elapsed();
                let is_long = quiet > app.pace.every() * 3 && app.time().is_none();
                let is_over = app.tick();
                if !app.set_quiet(is_long.then_some(quiet.as_secs())) && !is_over {
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

/// What is new; none where there will never be news again. Where there is no source, waits for ever.
async fn changed<T: Clone>(source: &mut Option<watch::Receiver<T>>) -> Option<T> {
    match source {
        None => std::future::pending().await,
        Some(source) => {
            source.changed().await.ok()?;
            Some(source.borrow_and_update().clone())
        }
    }
}
