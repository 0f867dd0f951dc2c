//! `libtt_metal.so` of many releases, without the rest of their wheels.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Environment, python};
use crate::shell::{capture, run, step};

/// Nothing older is of interest.
const OLDEST: [u32; 3] = [0, 65, 0];
/// What there was when this was written; asked for where the index does not answer.
const KNOWN: [&str; 19] = [
    "0.65.0", "0.65.1", "0.66.0", "0.67.0", "0.67.4", "0.68.0", "0.69.0", "0.70.1", "0.71.2",
    "0.72.0", "0.73.1", "0.74.0", "0.75.0", "0.76.0", "0.77.0", "0.78.0", "0.79.0", "0.80.0",
    "0.81.1",
];
const NAME: &str = "libtt_metal.so";

pub fn folder(cache: &Path) -> PathBuf {
    cache.join("libtt")
}

/// Keeps a library that is already on this machine.
pub fn keep(cache: &Path, version: &str, library: &Path) -> Result<()> {
    let to = folder(cache).join(version).join(NAME);
    if to.is_file() {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    if std::fs::hard_link(library, &to).is_err() {
        std::fs::copy(library, &to)
            .with_context(|| format!("cannot copy {}", library.display()))?;
    }
    Ok(())
}

pub fn fetch_all(cache: &Path) -> Result<()> {
    let python = python::find()?;
    let environments = std::fs::read_dir(cache).into_iter().flatten().flatten();
    // A pip of one's own is newer than the one that came with Python.
    let pip = environments
        .map(|entry| entry.path().join("bin/python"))
        .find(|found| found.is_file())
        .unwrap_or_else(|| python.clone());
    for version in versions(&pip) {
        if folder(cache).join(&version).join(NAME).is_file() {
            continue;
        }
        match Environment::at(cache.join(format!("ttnn-{version}"))) {
            Some(environment) => keep(cache, &version, &environment.library())?,
            None => fetch(cache, &pip, &version)?,
        }
    }
    Ok(())
}

/// Every stable release since [`OLDEST`].
fn versions(python: &Path) -> Vec<String> {
    let asked = capture(Command::new(python).args(["-m", "pip", "index", "versions", "ttnn"]));
    let listed = asked.ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Available versions:"))?
            .to_owned();
        let versions: Vec<String> = line
            .split(',')
            .map(|version| version.trim().to_owned())
            .collect();
        Some(versions)
    });
    let mut versions = listed.unwrap_or_else(|| {
        step("the package index does not answer: taking the releases known so far");
        KNOWN.iter().map(|&version| version.to_owned()).collect()
    });
    versions.retain(|version| number(version).is_some_and(|number| number >= OLDEST));
    versions
}

/// The three numbers of a stable release.
fn number(version: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = version
        .split('.')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    parts.try_into().ok()
}

fn fetch(cache: &Path, python: &Path, version: &str) -> Result<()> {
    step(format!("fetching ttnn {version} for its {NAME} (100 MB)"));
    let wheels = cache.join("wheels").join(version);
    std::fs::create_dir_all(&wheels)?;
    run(Command::new(python)
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ])
        .args(["--no-deps", "--only-binary=:all:", "--dest"])
        .arg(&wheels)
        .arg(format!("ttnn=={version}")))
    .with_context(|| format!("cannot download ttnn {version}: is there a network?"))?;
    let to = folder(cache).join(version);
    std::fs::create_dir_all(&to)?;
    // Written beside, then renamed: what is there is whole.
    let unpack = "\
import glob, shutil, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])
name = [name for name in wheel.namelist() if name.endswith('/' + sys.argv[3])][0]
with wheel.open(name) as source, open(sys.argv[2] + '/new', 'wb') as target:
    shutil.copyfileobj(source, target)
";
    run(Command::new(python)
        .args(["-c", unpack])
        .arg(&wheels)
        .arg(&to)
        .arg(NAME))
    .with_context(|| format!("the wheel of ttnn {version} holds no {NAME}"))?;
    std::fs::rename(to.join("new"), to.join(NAME))?;
    std::fs::remove_dir_all(&wheels).with_context(|| format!("cannot remove {}", wheels.display()))
}
