//! `cargo xtask test`: every check there is, with what it needs installed first.

use anyhow::{Context, Result, bail};

use crate::{
    bpf, build, lab, packages, paths,
    shell::{cargo, is_root, run, step, succeeds, which},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// On five releases of ttnn instead of two, and the libraries of every release
    #[arg(long)]
    full: bool,
}

pub fn main(args: &Args) -> Result<()> {
    let repository = paths::repository()?;
    let cache = paths::cache()?;
    let root = is_root();
    if !root && which("sudo").is_none() {
        bail!(
            "the end-to-end tests attach probes, which needs root, and there is no sudo here: run this as root"
        );
    }
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !succeeds(cargo(&repository).args([probe, "--version"])) {
            bail!("`cargo {probe}` is missing: `rustup component add {component}`");
        }
    }

    step("formatting");
    run(cargo(&repository).args(["fmt", "--all", "--check"]))?;
    run(cargo(&repository).args([
        "fmt",
        "--check",
        "--manifest-path",
        "memmon-ebpf/Cargo.toml",
    ]))?;
    step("clippy");
    let lint = |words: &[&str]| {
        run(cargo(&repository)
            .args(["clippy", "--quiet", "--ignore-rust-version"])
            .args(words)
            .args(["--", "-D", "warnings"]))
    };
    lint(&["--workspace", "--all-targets"])?;
    lint(&["--manifest-path", "memmon-ebpf/Cargo.toml", "--lib"])?;
    match bpf::check_if_possible()? {
        None => {}
        Some(reason) => step(format!(
            "NOT CHECKED: whether the BPF object is what its sources build to: {reason}"
        )),
    }

    let versions: &[&str] = if args.full { &lab::FULL } else { &lab::USUAL };
    let mut environments = Vec::new();
    for version in versions {
        environments.push((*version, lab::environment(&cache, version)?));
    }
    let pairs: Vec<_> = environments
        .iter()
        .map(|(version, environment)| (*version, environment))
        .collect();
    let mut libraries = lab::libraries_of(&cache, &pairs)?;
    if args.full {
        libraries = lab::all_libraries(&cache)?;
    }
    if packages::have_apt() && which("gcc").is_none() {
        packages::install(&["gcc", "libc6-dev"])?;
    }
    let binary = build::release(&repository)?;

    step(format!("tests, with ttnn {}", versions.join(" ")));
    let mut test = cargo(&repository);
    test.args([
        "test",
        "--workspace",
        "--release",
        "--ignore-rust-version",
        "--no-fail-fast",
    ])
    .env("MEMMON_LAB", &cache)
    .env("MEMMON_VERSIONS", versions.join(" "))
    .env("MEMMON_LIBTT_DIR", &libraries)
    .env("MEMMON_BIN", &binary);
    if !root {
        // Cargo builds as the user; the tests alone run as root.
        test.env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
            "sudo --preserve-env=MEMMON_LAB,MEMMON_VERSIONS,MEMMON_LIBTT_DIR,MEMMON_BIN,HOME,PATH",
        );
    }
    run(&mut test).context("some tests failed")
}
