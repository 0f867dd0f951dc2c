//! Vulkan without hardware: its loader, Mesa's drivers (lavapipe among them), and wgpu.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::python;
use crate::{
    packages,
    shell::{capture, step},
};

/// The wheel that the tests run: the last one for each Python that is looked for.
const WGPU: &str = "wgpu==0.31.0";

/// Installs what is missing and can be had; tests that miss something say so, and are not run.
pub fn prepare(cache: &Path) {
    if let Err(error) = install(cache) {
        step(format!(
            "NOT INSTALLED, what Vulkan's tests need: {error:#}"
        ));
    }
}

fn install(cache: &Path) -> Result<()> {
    if packages::have_apt() {
        packages::install(&["libvulkan1", "mesa-vulkan-drivers"])?;
    }
    let root = cache.join("wgpu");
    if capture(Command::new(root.join("bin/python")).args(["-c", "import wgpu"])).is_ok() {
        return Ok(());
    }
    step(format!("installing {WGPU} into {} (10 MB)", root.display()));
    python::environment(&python::find()?, &root, &[WGPU], "is there a network?")
}
