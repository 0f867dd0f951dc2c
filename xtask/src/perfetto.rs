//! Perfetto's own Python package: its schema of traces, for the test that reads one by it.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::shell::{run, step, succeeds};

const PACKAGES: [&str; 2] = ["perfetto==0.59.1", "protobuf>=6.31.1,<7"];

/// Has it in `<cache>/perfetto`.
pub fn install(cache: &Path) -> Result<()> {
    let root = cache.join("perfetto");
    let python = root.join("bin/python");
    let import = "import perfetto.protos.perfetto.trace.perfetto_trace_pb2";
    if python.exists() && succeeds(Command::new(&python).args(["-c", import])) {
        return Ok(());
    }
    step(format!(
        "installing {} into {}",
        PACKAGES[0],
        root.display()
    ));
    let venv = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&root)
        .status();
    venv.ok()
        .filter(std::process::ExitStatus::success)
        .context("cannot make a virtual environment: on Debian, python3-venv may be missing")?;
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ])
        .args(PACKAGES))
    .context("cannot install Perfetto's Python package: is there a network?")
}
