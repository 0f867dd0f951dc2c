//! The program itself, built for use.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    paths,
    shell::{cargo, run, step},
};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the release binary with the committed BPF object, and returns where it is.
pub fn release(repository: &Path) -> Result<PathBuf> {
    step("building memmon-ebpf");
    build(repository, "memmon-user", &[], "memmon-ebpf")
}

/// Builds a program that needs nothing of the machine it runs on but the kernel: linked statically, without symbols.
pub fn alone(repository: &Path) -> Result<PathBuf> {
    step("building memmon-ebpf, linked statically");
    run(command(repository, "memmon-user")
        .args(["--target", TRIPLE])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols"))?;
    let folder = paths::target(repository).join(TRIPLE).join("release");
    found(folder.join("memmon-ebpf"))
}

/// Builds an example of it, and returns where that is.
pub fn example(repository: &Path, name: &str) -> Result<PathBuf> {
    example_of(repository, "memmon-user", name)
}

/// Builds an example of the tests, and returns where that is.
pub fn of_tests(repository: &Path, name: &str) -> Result<PathBuf> {
    example_of(repository, "memmon-tests", name)
}

fn example_of(repository: &Path, package: &str, name: &str) -> Result<PathBuf> {
    build(
        repository,
        package,
        &["--example", name],
        &format!("examples/{name}"),
    )
}

fn build(repository: &Path, package: &str, words: &[&str], made: &str) -> Result<PathBuf> {
    run(command(repository, package).args(words))?;
    found(paths::target(repository).join("release").join(made))
}

fn command(repository: &Path, package: &str) -> Command {
    let mut command = cargo(repository);
    command.args(["build", "--quiet", "--release", "--ignore-rust-version"]);
    command.args(["-p", package]);
    command
}

fn found(binary: PathBuf) -> Result<PathBuf> {
    if !binary.is_file() {
        bail!("cargo built no {}", binary.display());
    }
    Ok(binary)
}
