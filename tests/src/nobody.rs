//! The program in the hands of a user without rights.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::memmon::binary;

/// The user of that name.
pub const NOBODY: u32 = 65534;

/// A copy of the program that anybody can run.
#[derive(Debug)]
pub struct Public(TempDir);

impl Public {
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let copy = directory.path().join("memmon-ebpf");
        let done = Command::new("cp").arg(binary()).arg(&copy).status()?;
        ensure!(done.success());
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        Ok(Self(directory))
    }

    /// Where it lies, readable by everybody.
    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Without any capability.
    pub fn as_nobody(&self, args: &[&str]) -> Result<Output> {
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

    /// With what `setpriv` leaves it.
    pub fn by_setpriv(&self, changes: &[&str], args: &[&str]) -> Result<Output> {
        let output = Command::new("setpriv")
            .args(changes)
            .arg(self.0.path().join("memmon-ebpf"))
            .args(args)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()?;
        Ok(output)
    }
}
