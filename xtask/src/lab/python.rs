//! A Python that `ttnn` has wheels for, and environments for packages.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::shell::{capture, run, succeeds};

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

/// Makes a virtual environment anew, with these packages in it. Where that fails, `why` says what it may be for want of;
/// half an environment is none.
pub fn environment(python: &Path, root: &Path, packages: &[&str], why: &str) -> Result<()> {
    let result = make(python, root, packages, why);
    if result.is_err() {
        let _ = std::fs::remove_dir_all(root);
    }
    result
}

fn make(python: &Path, root: &Path, packages: &[&str], why: &str) -> Result<()> {
    run(Command::new(python)
        .args(["-m", "venv", "--clear"])
        .arg(root))
    .context("cannot make a virtual environment: on Debian, python3-venv may be missing")?;
    run(Command::new(root.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .arg("--disable-pip-version-check")
        .args(packages))
    .with_context(|| format!("cannot install {}: {why}", packages.join(" ")))
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
