//! The program itself, built for use.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{
    paths,
    shell::{cargo, run, step},
};

/// Builds the release binary with the committed BPF object, and returns where it is.
pub fn release(repository: &Path) -> Result<PathBuf> {
    step("building memmon-ebpf");
    build(repository, "memmon-user", &[], "memmon-ebpf")
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
    run(cargo(repository)
        .args([
            "build",
            "--quiet",
            "--release",
            "--ignore-rust-version",
            "-p",
            package,
        ])
        .args(words))?;
    let binary = paths::target(repository).join("release").join(made);
    if !binary.is_file() {
        bail!("cargo built no {}", binary.display());
    }
    Ok(binary)
}
