//! JAX for the CPU, whose internals a test observes by an example of a profile.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    lab::python,
    shell::{step, succeeds},
};

/// The profile names functions and an offset of this release.
const PACKAGES: [&str; 2] = ["jax==0.10.2", "jaxlib==0.10.2"];

/// Has it in `<cache>/jax`. The test that needs it says that it was not run where it is not there.
pub fn install(cache: &Path) {
    if let Err(error) = try_to(&cache.join("jax")) {
        step(format!("NOT RUN, the test of JAX: {error:#}"));
    }
}

fn try_to(root: &Path) -> Result<()> {
    let python = root.join("bin/python");
    let import = "import jaxlib; assert jaxlib.__version__ == '0.10.2'; import jax";
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
        root,
        &PACKAGES,
        "is there a network, and Python 3.11 or later?",
    )
}
