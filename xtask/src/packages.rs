//! Debian packages: asking what there is, unpacking without installing, installing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::shell::{as_root, capture, is_root, run, step, succeeds, which};

/// Whether this system has apt.
pub fn have_apt() -> bool {
    which("apt-get").is_some() && which("apt-cache").is_some() && which("dpkg-deb").is_some()
}

/// The names a package depends on (the first of alternatives), or nothing where it is unknown.
pub fn dependencies(package: &str) -> Option<Vec<String>> {
    let text =
        capture(Command::new("apt-cache").args(["show", "--no-all-versions", package])).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))
        .unwrap_or_default();
    text.contains("Package:").then(|| {
        line.split(',')
            .filter_map(|item| item.split_whitespace().next())
            .map(|name| name.split(':').next().unwrap_or(name).to_owned())
            .collect()
    })
}

fn installed(package: &str) -> bool {
    capture(Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]))
        .is_ok_and(|status| status.ends_with(" installed"))
}

/// `roots` and every library they need that this system does not have.
fn closure(roots: &[&str]) -> Option<BTreeSet<String>> {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = roots.iter().map(|&name| name.to_owned()).collect();
    while let Some(name) = open.pop() {
        if !wanted.insert(name.clone()) {
            continue;
        }
        let needs = dependencies(&name)?;
        open.extend(needs.into_iter().filter(|need| {
            need.starts_with("lib")
                && !need.starts_with("libc6")
                && !need.ends_with("-dev")
                && !installed(need)
        }));
    }
    Some(wanted)
}

/// Unpacks packages, and the libraries they need that are not installed, into `prefix`; the system stays as it
/// is. Returns `name version` of each.
pub fn unpack(roots: &[&str], debs: &Path, prefix: &Path) -> Result<Vec<String>> {
    let names = match closure(roots) {
        Some(names) => names,
        None if is_root() => {
            step("asking apt for its package lists");
            run(Command::new("apt-get").args(["-qq", "update"]))?;
            closure(roots)
                .with_context(|| format!("apt does not know all of: {}", roots.join(", ")))?
        }
        None => bail!(
            "apt does not know all of: {}. Its lists may be old: run `sudo apt-get update` (Debian 12 or later with its security updates has them)",
            roots.join(", ")
        ),
    };
    std::fs::create_dir_all(debs)?;
    let fetch = || {
        run(Command::new("apt-get")
            .args(["-qq", "download", "-o", "APT::Sandbox::User=root"])
            .args(&names)
            .current_dir(debs))
    };
    step(format!(
        "downloading {}",
        names
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    ));
    if fetch().is_err() {
        if !is_root() {
            bail!(
                "`apt-get download` failed: apt's lists may be old; run `sudo apt-get update` and try again"
            );
        }
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        fetch()?;
    }
    std::fs::create_dir_all(prefix)?;
    let mut newest = BTreeMap::new();
    for entry in std::fs::read_dir(debs)? {
        let deb = entry?.path();
        if deb.extension().is_some_and(|extension| extension == "deb") {
            let field =
                |name: &str| capture(Command::new("dpkg-deb").arg("-f").arg(&deb).arg(name));
            let (name, version) = (
                field("Package")?.trim().to_owned(),
                field("Version")?.trim().to_owned(),
            );
            if names.contains(&name) {
                newest.insert(name, (version, deb));
            }
        }
    }
    let mut unpacked = Vec::new();
    for (name, (version, deb)) in newest {
        run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(prefix))?;
        unpacked.push(format!("{name} {version}"));
    }
    Ok(unpacked)
}

/// Installs what of `names` is missing.
pub fn install(names: &[&str]) -> Result<()> {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    step(format!("installing {}", missing.join(" ")));
    let get = |words: &[&str], names: &[&str]| -> Result<()> {
        run(as_root("apt-get")?
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(words)
            .args(names))
    };
    let install = ["-qq", "-y", "install", "--no-install-recommends"];
    if succeeds(
        as_root("apt-get")?
            .args(["-qq", "-y", "-s", "install"])
            .args(&missing),
    ) && get(&install, &missing).is_ok()
    {
        return Ok(());
    }
    get(&["-qq", "update"], &[])?;
    get(&install, &missing)
}
