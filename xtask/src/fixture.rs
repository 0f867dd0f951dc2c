//! The double of `libtt_metal.so` that `tests/fixture` describes, built for use outside the tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    packages, paths,
    shell::{run, which},
};

/// Builds it; the folder has one folder per layout, `inline` and `pimpl`.
pub fn build(repository: &Path) -> Result<PathBuf> {
    if packages::have_apt() && (which("g++").is_none() || which("make").is_none()) {
        packages::install(&["g++", "make"])?;
    }
    let built = paths::cache()?.join("fixture");
    let mut make = Command::new("make");
    make.arg("--silent")
        .arg("-C")
        .arg(repository.join("tests/fixture"))
        .arg(format!("OUT={}", built.display()));
    run(&mut make).context("cannot build the fixture: it needs make and g++ 12 or later")?;
    Ok(built)
}
