//! Somebody who is not root, and what they can run.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{fixture::Fixture, memmon};

pub use crate::nobody::NOBODY;

/// A directory that everybody can look into, with copies of the program and of a fixture: those
/// that were built may lie where only their owner can go.
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
        let directory = open_directory()?;
        for file in [memmon::binary(), fixture.driver(), fixture.library()] {
            let name = file.file_name().context("a file")?;
            let copy = directory.path().join(name);
            fs::copy(&file, &copy).with_context(|| format!("copying {}", file.display()))?;
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
