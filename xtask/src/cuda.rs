//! Genuine libraries of NVIDIA and AMD, which load without a GPU and fail: for the tests that see them fail.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    lab::python,
    packages,
    shell::{capture, run, step},
};

/// Two releases of the CUDA runtime: the package, and the file in it.
const RUNTIMES: [(&str, &str); 2] = [
    ("nvidia-cuda-runtime-cu12==12.9.79", "libcudart.so.12"),
    ("nvidia-cuda-runtime==13.5.37", "libcudart.so.13"),
];
const DRIVER: &str = "libcuda.so.1";
/// Debian's own, by which a list of packages is known to be.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Has them in `<cache>/cuda` and `<cache>/hip`. Tests say of themselves that they did not run where one cannot be had.
pub fn install(cache: &Path) {
    let root = cache.join("cuda");
    for (what, result) in [
        ("the CUDA runtime", runtimes(&root)),
        ("the CUDA driver's library", driver(&root)),
        ("HIP", hip(cache)),
    ] {
        if let Err(error) = result {
            step(format!(
                "NOT INSTALLED, {what}: its tests will not run: {error:#}"
            ));
        }
    }
}

/// `file` somewhere below `folder`.
fn find(folder: &Path, file: &str) -> Option<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let kind = entry.file_type().ok()?;
            if entry.file_name() == file {
                return Some(entry.path());
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    None
}

/// Makes `file`, found below `folder`, known by its name in `root`.
fn link(root: &Path, folder: &Path, file: &str) -> Result<()> {
    let found =
        find(folder, file).with_context(|| format!("there is no {file} in what was unpacked"))?;
    let link = root.join(file);
    if std::fs::symlink_metadata(&link).is_ok() {
        std::fs::remove_file(&link)?;
    }
    symlink(found, link)?;
    Ok(())
}

fn runtimes(root: &Path) -> Result<()> {
    if RUNTIMES.iter().all(|(_, file)| root.join(file).exists()) {
        return Ok(());
    }
    let environment = root.join("python");
    step(format!(
        "installing {} and {} into {}",
        RUNTIMES[0].0,
        RUNTIMES[1].0,
        environment.display()
    ));
    python::environment(
        Path::new("python3"),
        &environment,
        &RUNTIMES.map(|(package, _)| package),
        "is there a network?",
    )?;
    for (_, file) in RUNTIMES {
        link(root, &environment, file)?;
    }
    Ok(())
}

/// Debian has it among what is not free, of which most systems have no list: apt gets one of its own here, and this
/// system's stay as they are.
fn driver(root: &Path) -> Result<()> {
    if root.join(DRIVER).exists() {
        return Ok(());
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let mut lines = release.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim_matches('"').to_owned()))
    };
    if !packages::have_apt() || field("ID=").as_deref() != Some("debian") {
        bail!("it is taken from Debian's packages, on Debian");
    }
    let codename = field("VERSION_CODENAME=").context("this release of Debian has no name")?;
    // Where this system has its own packages from.
    let targets = capture(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        &format!("Release: {codename}"),
    ]))?;
    let archive = targets.lines().next();
    let archive = archive
        .context("apt has no archive of this release")?
        .to_owned();
    let apt = root.join("apt");
    for folder in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(apt.join(folder))?;
    }
    std::fs::write(
        apt.join("sources.list"),
        format!("deb [signed-by={KEYRING}] {archive} {codename} main contrib non-free\n"),
    )?;
    let get = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .arg("-qq")
            .current_dir(&apt)
            .args(["-o", "Dir::Etc::sourceparts=-"])
            .args(["-o", "APT::Sandbox::User="]);
        for (option, file) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            command
                .arg("-o")
                .arg(format!("{option}={}", apt.join(file).display()));
        }
        command.args(words);
        command
    };
    step(format!(
        "unpacking Debian's libcuda1 into {}",
        root.display()
    ));
    capture(&mut get(&["update"]))?;
    capture(&mut get(&["download", "libcuda1"]))?;
    let package = std::fs::read_dir(&apt)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt downloaded nothing")?;
    let unpacked = root.join("driver");
    run(Command::new("dpkg-deb")
        .arg("-x")
        .arg(&package)
        .arg(&unpacked))?;
    link(root, &unpacked, DRIVER)?;
    Ok(std::fs::remove_dir_all(apt)?)
}

fn hip(cache: &Path) -> Result<()> {
    let root = cache.join("hip");
    if root.join("libamdhip64.so.5").exists() {
        return Ok(());
    }
    if !packages::have_apt() {
        bail!("it is taken from Debian's packages, with apt");
    }
    let unpacked = root.join("system");
    packages::unpack(&["libamdhip64-5"], &root.join("debs"), &unpacked)?;
    link(&root, &unpacked, "libamdhip64.so.5")?;
    Ok(std::fs::remove_dir_all(root.join("debs"))?)
}
