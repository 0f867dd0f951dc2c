//! `cargo xtask lab`: real releases of `ttnn`, each in a virtual environment, ready to run on mock devices.

mod libraries;
pub mod python;
pub mod vulkan;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    packages, paths,
    shell::{capture, cargo, run, step},
};

/// The release shown where one is enough.
pub const NEWEST: &str = "0.81.1";
/// One with each layout of `Buffer`: inline, and behind a pointer.
pub const USUAL: [&str; 2] = ["0.75.0", "0.81.1"];
/// Every release whose layout differs from the one before.
pub const FULL: [&str; 5] = ["0.70.1", "0.75.0", "0.78.0", "0.79.0", "0.81.1"];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Releases of ttnn to install [default: 0.75.0 0.81.1]
    versions: Vec<String>,
    /// Also fetch libtt_metal.so of every stable release since 0.65.0
    #[arg(long)]
    libraries: bool,
}

pub fn main(args: &Args) -> Result<()> {
    let cache = paths::cache()?;
    let versions: Vec<&str> = match &args.versions[..] {
        [] if args.libraries => Vec::new(),
        [] => USUAL.to_vec(),
        versions => versions.iter().map(String::as_str).collect(),
    };
    let mut environments = Vec::new();
    for version in &versions {
        environments.push(environment(&cache, version)?);
    }
    if args.libraries {
        let folder = all_libraries(&cache)?;
        step(format!("libraries: {}", folder.display()));
    }
    let Some(last) = environments.last() else {
        return Ok(());
    };
    let clusters = clusters(&cache, last)?;
    let workload = paths::repository()?.join("tests/ttnn/workload.py");
    println!("Workloads run as they are:");
    for environment in &environments {
        println!(
            "  {} {} </dev/null",
            environment.python().display(),
            workload.display()
        );
    }
    println!(
        "Other programs need, in the environment (two at a time: each with a copy that has other chip_unique_ids):"
    );
    println!(
        "  export TT_METAL_MOCK_CLUSTER_DESC_PATH={}/n150.yaml   # or n300, t3k",
        clusters.display()
    );
    println!("  export TT_METAL_LOGGER_LEVEL=off LOGURU_LEVEL=ERROR");
    println!("  export TT_METAL_SLOW_DISPATCH_MODE=1   # only before ttnn 0.75");
    Ok(())
}

/// A release of `ttnn` that is installed.
#[derive(Debug)]
pub struct Environment {
    root: PathBuf,
    /// The folder of the package `ttnn`.
    package: PathBuf,
}

impl Environment {
    pub fn python(&self) -> PathBuf {
        self.root.join("bin/python")
    }

    fn library(&self) -> PathBuf {
        self.package.join("build/lib/libtt_metal.so")
    }

    fn at(root: PathBuf) -> Option<Self> {
        let packages = std::fs::read_dir(root.join("lib")).ok()?;
        let package = packages
            .flatten()
            .map(|python| python.path().join("site-packages/ttnn"))
            .find(|package| package.join("build/lib/libtt_metal.so").is_file())?;
        Some(Self { root, package })
    }
}

/// The environment of that release, made where it is not there yet.
pub fn environment(cache: &Path, version: &str) -> Result<Environment> {
    let root = cache.join(format!("ttnn-{version}"));
    let environment = match Environment::at(root.clone()) {
        Some(environment) => environment,
        None => install(&root, version)?,
    };
    let compiler = environment
        .package
        .join("runtime/sfpi/compiler/bin/riscv-tt-elf-g++");
    install_compiler(&compiler)?;
    runs(&environment, version)?;
    Ok(environment)
}

/// libtt_metal.so of the releases that are installed, as `libtt/<version>/libtt_metal.so`.
pub fn libraries_of(cache: &Path, environments: &[(&str, &Environment)]) -> Result<PathBuf> {
    for (version, environment) in environments {
        libraries::keep(cache, version, &environment.library())?;
    }
    Ok(libraries::folder(cache))
}

/// libtt_metal.so of every release.
pub fn all_libraries(cache: &Path) -> Result<PathBuf> {
    libraries::fetch_all(cache)?;
    Ok(libraries::folder(cache))
}

fn install(root: &Path, version: &str) -> Result<Environment> {
    let python = python::find()?;
    step(format!(
        "installing ttnn {version} into {} (100 MB)",
        root.display()
    ));
    python::environment(
        &python,
        root,
        &[&format!("ttnn=={version}")],
        "is there a network, and such a release?",
    )?;
    Environment::at(root.to_path_buf()).with_context(|| {
        format!(
            "ttnn {version} was installed, but {} holds no libtt_metal.so",
            root.display()
        )
    })
}

/// Puts the stand-in compiler where the runtime looks for the real one, unless that is there.
fn install_compiler(to: &Path) -> Result<()> {
    if to.is_file() && capture(Command::new(to).arg("--version")).is_ok() {
        return Ok(());
    }
    let repository = paths::repository()?;
    run(cargo(&repository).args([
        "build",
        "--quiet",
        "--ignore-rust-version",
        "-p",
        "xtask",
        "--bin",
        "stand-in-compiler",
    ]))?;
    let built = paths::target(&repository).join("debug/stand-in-compiler");
    let folder = to.parent().context("the compiler lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Another xtask may run it at this moment.
    let new = to.with_extension("new");
    std::fs::copy(&built, &new)
        .with_context(|| format!("cannot copy {} to {}", built.display(), new.display()))?;
    std::fs::rename(&new, to).with_context(|| format!("cannot make {}", to.display()))?;
    let version = capture(Command::new(to).arg("--version"))?;
    step(format!("stand-in compiler: {}", version.trim()));
    Ok(())
}

/// Whether the system has what the library links to; else installs it, or says what.
fn runs(environment: &Environment, version: &str) -> Result<()> {
    let missing = || -> Result<Vec<String>> {
        let needed = capture(Command::new("ldd").arg(environment.library()))?;
        Ok(needed
            .lines()
            .filter(|line| line.contains("not found"))
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect())
    };
    if missing()?.is_empty() {
        return Ok(());
    }
    if packages::have_apt() {
        packages::install(&["libatomic1", "zlib1g"])?;
    }
    let missing = missing()?;
    if !missing.is_empty() {
        bail!(
            "ttnn {version} needs {}, which this system does not have: install them",
            missing.join(", ")
        );
    }
    Ok(())
}

fn clusters(cache: &Path, environment: &Environment) -> Result<PathBuf> {
    let folder = cache.join("clusters");
    std::fs::create_dir_all(&folder)?;
    let script = paths::repository()?.join("tests/ttnn/lab.py");
    run(Command::new(environment.python()).arg(script).arg(&folder))?;
    Ok(folder)
}
