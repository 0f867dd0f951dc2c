//! Libraries and programs in C, made where a test needs them.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// A file of the tests, as arguments name it.
pub fn source(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs the C compiler in this folder.
pub fn cc(dir: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror"])
        .args(arguments)
        .current_dir(dir)
        .status()
        .context("cc is needed for this test")?;
    ensure!(status.success(), "cc {arguments:?}");
    Ok(())
}
