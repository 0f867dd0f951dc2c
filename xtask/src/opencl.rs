//! OpenCL and SYCL for the processor, for the tests that allocate by them.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    lab::python,
    packages,
    shell::{step, succeeds},
};

/// pocl, a loader, and the headers.
const DEBIAN: [&str; 3] = ["pocl-opencl-icd", "ocl-icd-libopencl1", "opencl-c-headers"];
/// A loader that is vendored, Intel's implementation, and SYCL on top of it.
const PYTHON: [&str; 4] = [
    "pyopencl==2026.1.4",
    "intel-opencl-rt==2026.2.0",
    "dpctl==0.22.1",
    "numpy==2.4.6",
];

/// Has them, where they can be had; a test that misses one says so.
pub fn install(cache: &Path) {
    for result in [debian(), packages_of_python(cache)] {
        if let Err(error) = result {
            step(format!("NOT INSTALLED, and not tested: {error:#}"));
        }
    }
}

fn debian() -> Result<()> {
    if !packages::have_apt() {
        return Ok(());
    }
    packages::install(&DEBIAN).context("pocl and OpenCL's headers")
}

/// In `<cache>/opencl`.
fn packages_of_python(cache: &Path) -> Result<()> {
    let root = cache.join("opencl");
    let python = root.join("bin/python");
    let import = "import importlib.metadata as m, sys; [p.split('==')[1] == m.version(p.split('==')[0]) or sys.exit(1) for p in sys.argv[1:]]";
    if python.exists() && succeeds(Command::new(&python).args(["-c", import]).args(PYTHON)) {
        return Ok(());
    }
    step(format!(
        "installing {} into {}",
        PYTHON.join(" "),
        root.display()
    ));
    python::environment(Path::new("python3"), &root, &PYTHON, "is there a network?")
}
