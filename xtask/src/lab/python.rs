//! A Python that `ttnn` has wheels for.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::shell::{capture, succeeds};

/// What `ttnn` is built for.
const MINORS: [u32; 2] = [10, 12];

/// A Python 3.10 or 3.12 that can make virtual environments: in `PATH`, or one of pyenv's.
pub fn find() -> Result<PathBuf> {
    let mut candidates = Vec::new();
    for minor in MINORS {
        candidates.push(PathBuf::from(format!("python3.{minor}")));
    }
    for versions in pyenv() {
        let Ok(entries) = std::fs::read_dir(versions) else {
            continue;
        };
        for entry in entries.flatten() {
            candidates.extend(
                MINORS
                    .iter()
                    .map(|minor| entry.path().join(format!("bin/python3.{minor}"))),
            );
        }
    }
    match candidates.iter().find(|python| fits(python)) {
        Some(python) => Ok(python.clone()),
        None => bail!(
            "ttnn needs Python 3.10 or 3.12 with venv, and there is none in PATH or in pyenv: \
             install one, for instance with `pyenv install 3.12`"
        ),
    }
}

fn pyenv() -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    root.into_iter()
        .chain(home)
        .map(|root| root.join("versions"))
        .collect()
}

/// A name in `PATH` may be pyenv's shim, which runs nothing: so ask it.
fn fits(python: &Path) -> bool {
    let version =
        capture(Command::new(python).args(["-c", "import sys; print(*sys.version_info[:2])"]));
    version.is_ok_and(|version| {
        MINORS
            .iter()
            .any(|minor| version.trim() == format!("3 {minor}"))
    }) && succeeds(Command::new(python).args(["-c", "import venv, ensurepip"]))
}
