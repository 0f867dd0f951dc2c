//! Perfetto's own Python package: its schema of traces, for the test that reads one by it.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    lab::python,
    shell::{step, succeeds},
};

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
    python::environment(
        Path::new("python3"),
        &root,
        &PACKAGES,
        "is there a network?",
    )
}
