//! Small file systems of one's own.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// It is there as long as this is.
#[derive(Debug)]
pub struct Disk {
    place: TempDir,
    /// What it lies in, where it is not in memory.
    _image: Option<TempDir>,
}

impl Disk {
    /// In memory, mounted with these options.
    pub fn in_memory(options: &str) -> Result<Self> {
        let place = tempfile::tempdir()?;
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], place.path())?;
        let _image = None;
        Ok(Self { place, _image })
    }

    /// With a journal, as that of a real disk.
    pub fn journaled() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("image");
        std::fs::File::create(&image)?.set_len(8 << 20)?;
        done(
            Command::new("mke2fs")
                .args(["-q", "-t", "ext4"])
                .arg(&image),
        )?;
        let place = tempfile::tempdir()?;
        let image = image.to_str().context("plain")?;
        mount(&["-t", "ext4", "-o", "loop", image], place.path())?;
        let _image = Some(folder);
        Ok(Self { place, _image })
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Of one with a journal: what the kernel does when it meets an error on the disk. Files that
    /// are open for writing cannot be written to any more.
    pub fn fail(&self) -> Result<()> {
        mount(&["-o", "remount,abort"], self.path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn mount(args: &[&str], place: &Path) -> Result<()> {
    done(Command::new("mount").args(args).arg(place))
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
