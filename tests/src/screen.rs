//! A program on a pseudo-terminal, and what it shows there, as a terminal emulator that is not ours understands it.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
};

/// How long to wait for what must appear.
const PATIENCE: Duration = Duration::from_secs(15);

pub struct Screen {
    terminal: File,
    child: Child,
    parser: Arc<Mutex<vt100::Parser>>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.text())
    }
}

impl Screen {
    /// Starts a program on a terminal of this size (columns, lines).
    pub fn start(mut command: Command, (width, height): (u16, u16)) -> Result<Self> {
        // Closed on exec: else the children of other tests would keep this terminal open.
        let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let inside = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(ptsname_r(&terminal)?)?;
        let terminal = File::from(OwnedFd::from(terminal));
        set_size(&terminal, width, height)?;
        command
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .env_remove("LC_ALL")
            .env_remove("NO_COLOR")
            .stdin(Stdio::from(inside.try_clone()?))
            .stdout(Stdio::from(inside.try_clone()?))
            .stderr(Stdio::from(inside));
        // SAFETY: both calls are allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {command:?}; build it first"))?;
        let parser = Arc::new(Mutex::new(vt100::Parser::new(height, width, 0)));
        let mut from = terminal.try_clone()?;
        let to = Arc::clone(&parser);
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                lock(&to).process(&buffer[..length]);
            }
        });
        Ok(Self {
            terminal,
            child,
            parser,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What stands on it, line by line.
    pub fn text(&self) -> String {
        let parser = lock(&self.parser);
        let (_, width) = parser.screen().size();
        let lines = parser.screen().rows(0, width);
        lines.map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// The line that these words stand in.
    pub fn line(&self, words: &str) -> Option<String> {
        let text = self.text();
        text.lines()
            .find(|line| line.contains(words))
            .map(str::to_owned)
    }

    /// Whether the program has the mouse, and the screen that goes away with it.
    pub fn is_taken(&self) -> (bool, bool) {
        let parser = lock(&self.parser);
        let mouse = parser.screen().mouse_protocol_mode() != vt100::MouseProtocolMode::None;
        (mouse, parser.screen().alternate_screen())
    }

    /// Waits until the screen is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !wanted(&self.text()) {
            if begin.elapsed() > PATIENCE {
                bail!("waited in vain for {what}:\n{}", self.text());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until these words can be read.
    pub fn until_shown(&self, words: &str) -> Result<()> {
        self.until(words, |text| text.contains(words))
    }

    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.terminal.write_all(keys.as_bytes())?)
    }

    /// Clicks on words that can be read.
    pub fn click(&mut self, words: &str) -> Result<()> {
        let text = self.text();
        let found = text.lines().enumerate().find_map(|(row, line)| {
            let before = line.split_once(words)?.0;
            Some((row + 1, before.chars().count() + 1))
        });
        let (row, column) = found.with_context(|| format!("no {words} in\n{text}"))?;
        self.press(&format!("\x1b[<0;{column};{row}M\x1b[<0;{column};{row}m"))
    }

    pub fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        lock(&self.parser).screen_mut().set_size(height, width);
        set_size(&self.terminal, width, height)
    }

    /// Waits for the program's end.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "it does not end:\n{}",
                self.text()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock(parser: &Mutex<vt100::Parser>) -> MutexGuard<'_, vt100::Parser> {
    parser.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_size(terminal: &File, width: u16, height: u16) -> Result<()> {
    let size = libc::winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is open, and TIOCSWINSZ reads one winsize from where the pointer says.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    ensure!(done == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}
