//! `cargo xtask dist`: one file that is carried to a machine and run there.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{build, paths, shell::capture};

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn main(_: &Args) -> Result<()> {
    let repository = paths::repository()?;
    let binary = make()?;
    let version = capture(std::process::Command::new(&binary).arg("--version"))?;
    let shown = binary.strip_prefix(&repository).unwrap_or(&binary);
    let bytes = fs::metadata(&binary)?.len();
    println!("{}: {}, {bytes} bytes", shown.display(), version.trim());
    Ok(())
}

pub fn make() -> Result<PathBuf> {
    let repository = paths::repository()?;
    let built = build::alone(&repository)?;
    let folder = paths::target(&repository).join("dist");
    let binary = folder.join("memmon-ebpf");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::copy(&built, &binary))
        .with_context(|| format!("cannot write {}", binary.display()))?;
    Ok(binary)
}
