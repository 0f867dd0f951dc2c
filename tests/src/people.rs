//! Somebody who is not root, and what they can run.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{fixture::Fixture, memmon};

/// The user of that name.
pub const NOBODY: u32 = 65534;

/// A directory that everybody can look into, with copies of the program and, where one is asked
/// for, of a fixture: those that were built may lie where only their owner can go.
#[derive(Debug)]
pub struct Open {
    directory: tempfile::TempDir,
}

/// A temporary directory that everybody can look into.
pub fn open_directory() -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

impl Open {
    pub fn new(fixture: &Fixture) -> Result<Self> {
        Self::of(&[memmon::binary(), fixture.driver(), fixture.library()])
    }

    /// The program alone.
    pub fn program_alone() -> Result<Self> {
        Self::of(&[memmon::binary()])
    }

    fn of(files: &[PathBuf]) -> Result<Self> {
        let directory = open_directory()?;
        for file in files {
            let name = file.file_name().context("a file")?;
            let copy = directory.path().join(name);
            // By another process: a child of ours that has not yet become a program would hold a
            // file open that is being written, and so it could not be run.
            let copied = Command::new("cp").arg(file).arg(&copy).status()?;
            ensure!(copied.success(), "copying {}", file.display());
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { directory })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn program(&self) -> PathBuf {
        self.path().join("memmon-ebpf")
    }

    pub fn driver(&self) -> Command {
        Command::new(self.path().join("fixture"))
    }

    /// The program, run by nobody.
    pub fn memmon(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.args(args).stdin(Stdio::null());
        as_nobody(&mut command);
        command
    }

    /// The program, run by nobody, who cannot get any capability either.
    pub fn without_rights(&self, args: &[&str]) -> Result<Output> {
        self.by_setpriv(
            &[
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ],
            args,
        )
    }

    /// The program, run with what `setpriv` leaves it.
    pub fn by_setpriv(&self, changes: &[&str], args: &[&str]) -> Result<Output> {
        let output = Command::new("setpriv")
            .args(changes)
            .arg(self.program())
            .args(args)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()?;
        Ok(output)
    }
}

pub fn as_nobody(command: &mut Command) {
    // Groups are given up, too: std does so for root.
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
}

/// Runs `work` in a thread that is nobody to the kernel, and so to whomever it connects to.
pub fn nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: the raw call changes this thread's credentials only, and it ends here.
            let set = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
