//! Level Zero: the loader and Intel's driver, which emulates a GPU for the tests.

use anyhow::{Context as _, Result};

use crate::{packages, shell::step};

/// The driver comes with the distribution's OpenCL of the same source, or by itself.
const DRIVERS: [&str; 2] = ["libze-intel-gpu1", "intel-opencl-icd"];

/// Has them, where they can be had; a test that misses one says so.
pub fn install() {
    if let Err(error) = debian() {
        step(format!("NOT INSTALLED, and not tested: {error:#}"));
    }
}

fn debian() -> Result<()> {
    if !packages::have_apt() {
        return Ok(());
    }
    let driver = DRIVERS
        .into_iter()
        .find(|name| packages::dependencies(name).is_some())
        .unwrap_or(DRIVERS[1]);
    packages::install(&["libze1", driver]).context("Level Zero's loader and Intel's driver")
}
