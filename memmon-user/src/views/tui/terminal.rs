//! The terminal: raw mode, the alternate screen and the mouse while the view is up, and as it was on every way out.
//!
//! Frames are written by a thread of their own. A terminal that takes no output (a stalled ssh) then costs frames,
//! not the signals and the keys that end the view.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::termios::{FlushArg, SetArg, Termios, cfmakeraw, tcflush, tcgetattr, tcsetattr};
use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::sync::{Notify, mpsc};

use super::Error;

/// Alternate screen, cursor hidden, pasted text marked as such.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[2J";
/// The same backwards; an unfinished frame is ended first.
const LEAVE: &[u8] =
    b"\x1b[?2026l\x1b[0m\x1b[?1006l\x1b[?1002l\x1b[?1000l\x1b[?2004l\x1b[?25h\x1b[?1049l";
/// Presses, drags and the wheel are reported, as numbers of any size. Holding Shift selects text all the same.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1002h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1002l\x1b[?1000l";
/// Between these the terminal shows nothing half done, where it knows them.
const FRAME_BEGIN: &[u8] = b"\x1b[?2026h";
const FRAME_END: &[u8] = b"\x1b[?2026l";

/// A terminal larger than this is not one somebody looks at.
const LARGEST: (u16, u16) = (1000, 500);
const PATIENCE: Duration = Duration::from_millis(300);

/// What a panic on any thread needs to put things right.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);
/// Whether frames may be written.
static ACTIVE: AtomicBool = AtomicBool::new(false);
static PANICKED: AtomicBool = AtomicBool::new(false);
static PANIC: Notify = Notify::const_new();

struct Saved {
    termios: Termios,
    input: OwnedFd,
    output: Arc<File>,
}

/// Resolves when any thread panicked; the terminal was restored before the message was printed.
pub async fn panicked() {
    let notified = PANIC.notified();
    if !PANICKED.load(Ordering::SeqCst) {
        notified.await;
    }
}

/// Whether an error says that the terminal is no longer there.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
        || matches!(error.raw_os_error(), Some(libc::EIO | libc::ENXIO))
}

#[derive(Debug)]
pub struct Terminal {
    output: Arc<File>,
    frames: std::sync::mpsc::Sender<Vec<u8>>,
    written: mpsc::UnboundedReceiver<io::Result<()>>,
    busy: bool,
    /// What the terminal shows; none where that is not known.
    shown: Option<Buffer>,
    /// Whether the mouse is wanted.
    mouse: bool,
}

impl Terminal {
    pub fn enter(mouse: bool) -> Result<Self, Error> {
        let output =
            terminal_fd(libc::STDOUT_FILENO).ok_or(Error::NotATerminal("standard output"))?;
        let output = Arc::new(File::from(output));
        let input = open_input().map_err(|_| Error::NotATerminal("standard input"))?;
        let termios = tcgetattr(&input).map_err(|e| Error::Terminal(e.into()))?;
        install_hook();
        PANICKED.store(false, Ordering::SeqCst);
        *saved() = Some(Saved {
            termios,
            input,
            output: Arc::clone(&output),
        });
        let (frames, to_write) = std::sync::mpsc::channel::<Vec<u8>>();
        let (done, written) = mpsc::unbounded_channel();
        let screen = Arc::clone(&output);
        thread::Builder::new()
            .name("tui-output".into())
            .spawn(move || {
                for frame in to_write {
                    if done.send(write_frame(&screen, &frame)).is_err() {
                        return;
                    }
                }
            })
            .map_err(Error::Terminal)?;
        // From here on, dropping it restores.
        let mut terminal = Self {
            output,
            frames,
            written,
            busy: false,
            shown: None,
            mouse,
        };
        terminal.resume().map_err(Error::Terminal)?;
        Ok(terminal)
    }

    /// The descriptor to read keys from.
    pub fn input(&self) -> io::Result<OwnedFd> {
        match saved().as_ref() {
            Some(saved) => saved.input.try_clone(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether the last frame was taken.
    pub fn is_idle(&self) -> bool {
        !self.busy
    }

    /// Resolves when a frame was taken; never while none is under way.
    pub async fn flushed(&mut self) -> io::Result<()> {
        if !self.busy {
            return std::future::pending().await;
        }
        let result = self.written.recv().await;
        self.busy = false;
        result.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Draws a frame and sends what changed. Only while idle.
    pub fn draw(&mut self, paint: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let area = self.area();
        let mut next = Buffer::empty(area);
        paint(&mut next);
        let mut bytes = FRAME_BEGIN.to_vec();
        let blank = Buffer::empty(area);
        let before = match &self.shown {
            Some(shown) if shown.area == area => shown,
            _ => {
                bytes.extend_from_slice(b"\x1b[0m\x1b[2J");
                &blank
            }
        };
        let changes = before.diff(&next);
        if changes.is_empty() && self.shown.is_some() && bytes.len() == FRAME_BEGIN.len() {
            return Ok(());
        }
        CrosstermBackend::new(&mut bytes).draw(changes.into_iter())?;
        bytes.extend_from_slice(FRAME_END);
        self.shown = Some(next);
        self.busy = true;
        self.frames
            .send(bytes)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// What the terminal shows is no longer known: the next frame is drawn whole.
    pub fn forget(&mut self) {
        self.shown = None;
    }

    /// Gives the terminal back and stops this process, until the shell continues it.
    pub fn suspend(&mut self) -> io::Result<()> {
        self.settle();
        restore(PATIENCE);
        raise(Signal::SIGSTOP)?;
        self.resume()
    }

    /// Takes the terminal (again): after a stop, a shell may have changed its mode.
    pub fn resume(&mut self) -> io::Result<()> {
        self.forget();
        let (mut raw, input) = match saved().as_ref() {
            Some(saved) => (saved.termios.clone(), saved.input.try_clone()?),
            None => return Ok(()),
        };
        cfmakeraw(&mut raw);
        // Active first: if anything below fails, the way out undoes it.
        let was_active = ACTIVE.swap(true, Ordering::SeqCst);
        tcsetattr(&input, SetArg::TCSANOW, &raw)?;
        if was_active {
            return Ok(());
        }
        (&*self.output).write_all(ENTER)?;
        if self.mouse {
            (&*self.output).write_all(MOUSE_ON)?;
        }
        Ok(())
    }

    /// Takes the mouse, or leaves it to the terminal. Only while idle.
    pub fn set_mouse(&mut self, wanted: bool) -> io::Result<()> {
        self.mouse = wanted;
        let words = if wanted { MOUSE_ON } else { MOUSE_OFF };
        self.busy = true;
        self.frames
            .send(words.to_vec())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn area(&self) -> Rect {
        let mut size = libc::winsize {
            ws_row: 0,
            ws_col: 0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the descriptor is open, and TIOCGWINSZ writes one winsize to where the pointer says.
        let known =
            unsafe { libc::ioctl(self.output.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } == 0;
        let (width, height) = if known && size.ws_col > 0 && size.ws_row > 0 {
            (size.ws_col, size.ws_row)
        } else {
            (80, 24)
        };
        Rect::new(0, 0, width.min(LARGEST.0), height.min(LARGEST.1))
    }

    /// Waits a moment for the frame under way.
    fn settle(&mut self) {
        let until = std::time::Instant::now() + PATIENCE;
        while self.busy && std::time::Instant::now() < until {
            match self.written.try_recv() {
                Err(mpsc::error::TryRecvError::Empty) => thread::sleep(Duration::from_millis(2)),
                _ => self.busy = false,
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.settle();
        restore(PATIENCE);
        *saved() = None;
    }
}

fn saved() -> MutexGuard<'static, Option<Saved>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Written piece by piece, and no further once the terminal was given back.
fn write_frame(mut output: &File, frame: &[u8]) -> io::Result<()> {
    for piece in frame.chunks(4096) {
        if !ACTIVE.load(Ordering::SeqCst) {
            return Ok(());
        }
        output.write_all(piece)?;
    }
    Ok(())
}

/// Leaves the terminal as it was found. Never blocks for good: this also runs while the terminal is dead or stuck.
fn restore(patience: Duration) {
    if !ACTIVE.swap(false, Ordering::SeqCst) {
        return;
    }
    let guard = match SAVED.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    let Some(Saved {
        termios,
        input,
        output,
    }) = guard.as_ref()
    else {
        return;
    };
    let mut ready = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    if poll(&mut ready, timeout).is_ok_and(|ready| ready > 0) {
        // Nothing can be done about a terminal that is gone.
        let _ = (&**output).write_all(LEAVE);
    }
    // Keys that were meant for the view are not for the shell.
    let _ = tcflush(input, FlushArg::TCIFLUSH);
    // In the background, changing the mode would stop us (SIGTTOU), and we would never end.
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTTOU);
    let mut before = SigSet::empty();
    let blocked = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stop), Some(&mut before));
    let _ = tcsetattr(input, SetArg::TCSANOW, termios);
    if blocked.is_ok() {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
}

/// A panic prints its message: on the screen the user will see afterwards, not on the one that goes away.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if ACTIVE.load(Ordering::SeqCst) {
                restore(PATIENCE);
                PANICKED.store(true, Ordering::SeqCst);
                PANIC.notify_waiters();
            }
            previous(info);
        }));
    });
}

/// A descriptor of our own for the terminal that `fd` is.
fn terminal_fd(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: isatty takes any number and only says whether it is an open terminal.
    if unsafe { libc::isatty(fd) } != 1 {
        return None;
    }
    // SAFETY: F_DUPFD_CLOEXEC takes any number and makes a new descriptor or fails.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: the new descriptor is ours alone.
    (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Standard input, or the controlling terminal where that is something else.
fn open_input() -> io::Result<OwnedFd> {
    match terminal_fd(libc::STDIN_FILENO) {
        Some(input) => Ok(input),
        None => Ok(File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")?
            .into()),
    }
}
