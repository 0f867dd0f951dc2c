//! The program itself, built for use.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{
    paths,
    shell::{cargo, run, step},
};

/// Builds the release binary with the committed BPF object, and returns where it is.
pub fn release(repository: &Path) -> Result<PathBuf> {
    step("building memmon-ebpf");
    run(cargo(repository).args([
        "build",
        "--quiet",
        "--release",
        "--ignore-rust-version",
        "-p",
        "memmon-user",
    ]))?;
    let binary = paths::target(repository).join("release/memmon-ebpf");
    if !binary.is_file() {
        bail!("cargo built no {}", binary.display());
    }
    Ok(binary)
}
