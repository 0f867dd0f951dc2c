//! The live view on a real pseudo-terminal: on every way out the terminal is as it was found, and nothing hangs.
//! Runs `examples/tui_demo.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "a test; clippy sees only its #[test] functions as such"
)]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

const UP: &str = "\u{1b}[?1049h";
const DOWN: &str = "\u{1b}[?1049l";
const PATIENCE: Duration = Duration::from_secs(10);

struct Session {
    master: Option<File>,
    /// Keeps the terminal's mode readable after the child is gone.
    slave: Option<OwnedFd>,
    before: Termios,
    child: Child,
    printed: Arc<Mutex<Vec<u8>>>,
}

fn demo() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path = here
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/tui_demo");
    assert!(
        path.exists(),
        "cargo build --example tui_demo makes {}",
        path.display()
    );
    path
}

fn resize(terminal: &File, width: u16, height: u16) {
    let size = libc::winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is open, and TIOCSWINSZ reads one winsize from where the pointer says.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(done, 0);
}

impl Session {
    fn start(args: &[&str], reads: bool) -> Self {
        // Closed on exec: else the children of other tests would keep this terminal open.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut open = OpenOptions::new();
        open.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let slave = open.open(ptsname_r(&master).unwrap()).unwrap();
        let master = File::from(OwnedFd::from(master));
        resize(&master, 140, 40);
        let before = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new(demo());
        command
            .args(args)
            .env("LANG", "C.UTF-8")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        command.env_remove("RUST_BACKTRACE");
        let controlling = !args.contains(&"not-controlling");
        // SAFETY: both calls are allowed between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if libc::setsid() < 0 || controlling && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop(command);
        let printed = Arc::new(Mutex::new(Vec::new()));
        let session = Self {
            master: Some(master),
            slave: Some(slave.into()),
            before,
            child,
            printed,
        };
        if reads {
            session.read();
            session.until(|text| text.contains("COMMAND"));
        }
        session
    }

    fn read(&self) {
        let mut from = self.master.as_ref().unwrap().try_clone().unwrap();
        let to = Arc::clone(&self.printed);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    fn until(&self, enough: impl Fn(&str) -> bool) {
        let begin = Instant::now();
        while !enough(&self.text()) {
            assert!(begin.elapsed() < PATIENCE, "{:?}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn mode(&self) -> Termios {
        tcgetattr(self.slave.as_ref().unwrap()).unwrap()
    }

    fn press(&mut self, bytes: &[u8]) {
        self.master.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "it hangs: {:?}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// That the screen was left once, with nothing of a frame after it, and that the mode is as before.
    fn is_restored(&self, last_words: &str) {
        self.until(|text| text.contains(last_words));
        let text = self.text();
        assert_eq!(text.matches(UP).count(), 1);
        assert_eq!(text.matches(DOWN).count(), 1, "{last_words}");
        let (view, after) = text.split_once(DOWN).unwrap();
        assert!(!after.contains('\u{1b}'), "{after:?}");
        assert!(after.contains(last_words), "{after:?}");
        assert!(view.contains("\u{1b}[?25h"), "the cursor is shown");
        for mode in [1000, 1002, 1006] {
            let (on, off) = (format!("\u{1b}[?{mode}h"), format!("\u{1b}[?{mode}l"));
            let (_, after) = view.rsplit_once(&on).unwrap();
            assert!(after.contains(&off), "the mouse is the terminal's again");
        }
        assert_eq!(self.mode(), self.before);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_that_leave() {
    for key in [&b"q"[..], b"\x1b", b"\x03"] {
        let mut session = Session::start(&["busy"], true);
        assert!(
            !session.mode().local_flags.contains(LocalFlags::ICANON),
            "raw while it is up"
        );
        session.press(key);
        assert!(session.ended().success());
        session.is_restored("Quit");
    }
}

#[test]
fn signals_that_end() {
    for signal in [
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
    ] {
        let mut session = Session::start(&["troubled"], true);
        session.signal(signal);
        session.ended();
        session.is_restored(&format!("Signal({})", signal as i32));
    }
}

#[test]
fn panics() {
    let mut here = Session::start(&["busy", "panic"], true);
    assert_eq!(here.ended().code(), Some(101));
    here.is_restored("as asked for");
    let mut elsewhere = Session::start(&["busy", "thread-panic"], true);
    assert_eq!(elsewhere.ended().code(), Some(1));
    elsewhere.is_restored("a part of memmon-ebpf failed");
}

#[test]
fn a_dropped_future() {
    let mut session = Session::start(&["busy", "drop"], true);
    assert!(session.ended().success());
    session.is_restored("None");
}

#[test]
fn a_source_that_ends_leaves_the_last_news_to_read() {
    let mut session = Session::start(&["busy", "end"], true);
    session.until(|text| text.contains("no more news"));
    session.press(b"q");
    assert!(session.ended().success());
    session.is_restored("Quit");
}

#[test]
fn a_stop_gives_the_terminal_back_and_fg_takes_it_again() {
    let mut session = Session::start(&["busy"], true);
    session.press(b"\x1a");
    session.until(|text| text.contains(DOWN));
    let begin = Instant::now();
    while session.mode() != session.before {
        assert!(begin.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(10));
    }
    session.signal(Signal::SIGCONT);
    session.until(|text| {
        text.rsplit_once(UP)
            .is_some_and(|(before, now)| before.contains(DOWN) && now.contains("COMMAND"))
    });
    assert!(!session.mode().local_flags.contains(LocalFlags::ICANON));
    session.press(b"q");
    assert!(session.ended().success());
    assert_eq!(session.mode(), session.before);
}

#[test]
fn the_mouse_can_be_left_to_the_terminal() {
    let mut session = Session::start(&["busy"], true);
    session.press(b"m");
    session.until(|text| text.contains("\u{1b}[?1000l"));
    session.press(b"m");
    session.until(|text| text.matches("\u{1b}[?1000h").count() == 2);
    session.press(b"q");
    assert!(session.ended().success());
    session.is_restored("Quit");
}

#[test]
fn a_closed_terminal() {
    // With SIGHUP and without: a terminal that is not the controlling one sends none.
    for args in [&["busy"][..], &["busy", "not-controlling"]] {
        let mut session = Session::start(args, false);
        let mut begun = [0; 64];
        session
            .master
            .as_mut()
            .unwrap()
            .read_exact(&mut begun)
            .unwrap();
        session.slave = None;
        session.master = None;
        assert!(session.ended().success());
    }
}

#[test]
fn a_terminal_that_takes_no_output() {
    // Nobody reads: after a few frames the pseudo-terminal is full, and a write to it blocks.
    let mut session = Session::start(&["crowd", "silent"], false);
    for _ in 0..40 {
        session.press(b"\x0c");
        thread::sleep(Duration::from_millis(20));
    }
    session.signal(Signal::SIGTERM);
    session.ended();
    assert_eq!(session.mode(), session.before);
}

#[test]
fn a_resize_is_followed() {
    let mut session = Session::start(&["busy"], true);
    resize(session.master.as_ref().unwrap(), 20, 10);
    session.until(|text| text.contains("too small"));
    session.press(b"q");
    assert!(session.ended().success());
    session.is_restored("Quit");
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let output = Command::new(demo()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("standard output is not a terminal") && words.contains("--format"),
        "{words}"
    );
}
