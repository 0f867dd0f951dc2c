//! Where a recording is written: a file, or standard output.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{origin, rights};

/// How often what was written is put on the disk itself: what a power cut may cost.
const SYNC_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{} is there already; name another file, or replace it with --force", .0.display())]
    Exists(PathBuf),
    #[error("standard output is a terminal; name a file with -o, or a pipe to a program")]
    Terminal,
    #[error("standard output is closed; name a file with -o, or give it a pipe to a program")]
    Closed,
    #[error("cannot write to {}: {cause}; name a file in a folder that may be written", .path.display())]
    Unwritable { path: PathBuf, cause: io::Error },
}

#[derive(Debug)]
pub struct Target {
    out: Out,
    synced: Instant,
}

#[derive(Debug)]
enum Out {
    Stdout(io::Stdout),
    /// A regular file of our own.
    File(File, PathBuf),
    /// A pipe or a device.
    Direct(File),
}

impl Target {
    pub fn create(path: &Path, force: bool) -> Result<Self, TargetError> {
        Ok(Self {
            out: open(path, force)?,
            synced: Instant::now(),
        })
    }

    /// Nothing came of it: leaves no empty file behind.
    pub fn discard(self) {
        if let Out::File(_, path) = self.out {
            let _ = fs::remove_file(path);
        }
    }

    /// The next file, with this one moved out of its way. None where there is no such thing.
    pub fn rotate(&self) -> Result<Option<Self>, TargetError> {
        let Out::File(_, path) = &self.out else {
            return Ok(None);
        };
        fs::rename(path, rotated(path)).map_err(|cause| TargetError::Unwritable {
            path: path.clone(),
            cause,
        })?;
        Self::create(path, false).map(Some)
    }

    /// Where writing failed: leaves no half frame.
    pub fn truncate(&self, length: u64) {
        if let Out::File(file, _) = &self.out {
            let _ = file.set_len(length);
            let _ = file.sync_data();
        }
    }

    /// Onto the disk, now and then.
    pub fn sync_if_due(&mut self) -> io::Result<()> {
        if self.synced.elapsed() < SYNC_EVERY {
            return Ok(());
        }
        self.sync()
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.synced = Instant::now();
        match &self.out {
            Out::File(file, _) => file.sync_data(),
            Out::Stdout(_) | Out::Direct(_) => Ok(()),
        }
    }
}

/// Where a full file goes.
pub fn rotated(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

fn open(path: &Path, force: bool) -> Result<Out, TargetError> {
    if path == Path::new("-") {
        if origin::is_stdout_closed() {
            return Err(TargetError::Closed);
        }
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(TargetError::Terminal);
        }
        return Ok(Out::Stdout(stdout));
    }
    let unwritable = |cause| TargetError::Unwritable {
        path: path.into(),
        cause,
    };
    rights::no_trap(path).map_err(unwritable)?;
    if let Ok(there) = fs::metadata(path) {
        let kind = there.file_type();
        if kind.is_fifo() || kind.is_char_device() {
            let file = OpenOptions::new().write(true).open(path);
            return Ok(Out::Direct(file.map_err(unwritable)?));
        }
        if there.is_dir() {
            return Err(unwritable(io::ErrorKind::IsADirectory.into()));
        }
        if !force && there.len() > 0 {
            return Err(TargetError::Exists(path.into()));
        }
        // Made anew, so that whoever reads the old one keeps it.
        fs::remove_file(path).map_err(unwritable)?;
    }
    // Command lines of everybody are in it.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(unwritable)?;
    give_to_caller(&file);
    Ok(Out::File(file, path.into()))
}

/// Whoever called `sudo` may replay it without.
fn give_to_caller(file: &File) {
    let id = |name| std::env::var(name).ok().and_then(|id| id.parse().ok());
    if let Some(uid) = id("SUDO_UID") {
        let _ = fchown(file, Some(uid), id("SUDO_GID"));
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Stdout(out) => out.write(bytes),
            Out::File(file, _) | Out::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Stdout(out) => out.flush(),
            Out::File(..) | Out::Direct(_) => Ok(()),
        }
    }
}
