//! Vulkan without hardware: its loader, Mesa's drivers (lavapipe among them), and wgpu.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    packages,
    shell::{capture, run, step},
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
    let python = root.join("bin/python");
    if capture(Command::new(&python).args(["-c", "import wgpu"])).is_ok() {
        return Ok(());
    }
    step(format!("installing {WGPU} into {} (10 MB)", root.display()));
    // Half an environment is none.
    if root.exists() {
        std::fs::remove_dir_all(&root)?;
    }
    let found = super::python::find()?;
    run(Command::new(found).args(["-m", "venv"]).arg(&root))?;
    run(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        WGPU,
    ]))
}
