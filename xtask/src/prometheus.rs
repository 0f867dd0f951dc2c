//! Prometheus, which the tests of the metrics have scrape memmon-ebpf.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    packages,
    shell::{succeeds, which},
};

const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];

/// The folder of both programs: this system's, else Debian's package, which is unpacked into the
/// cache. Installing it would start a server.
pub fn folder(cache: &Path) -> Result<PathBuf> {
    if let Some(found) = which("prometheus")
        && let Some(folder) = found.parent()
        && work(folder)
    {
        return Ok(folder.to_path_buf());
    }
    let prefix = cache.join("prometheus");
    let folder = prefix.join("usr/bin");
    if work(&folder) {
        return Ok(folder);
    }
    let manual = "the tests of the metrics need `prometheus` and `promtool` in PATH: install your system's package of them, or unpack https://prometheus.io/download";
    if !packages::have_apt() {
        bail!("{manual}");
    }
    packages::unpack(&["prometheus"], &cache.join("debs"), &prefix).context(manual)?;
    if !work(&folder) {
        bail!(
            "Debian's prometheus does not run from {}; {manual}",
            folder.display()
        );
    }
    Ok(folder)
}

fn work(folder: &Path) -> bool {
    PROGRAMS
        .iter()
        .all(|program| succeeds(Command::new(folder.join(program)).arg("--version")))
}
