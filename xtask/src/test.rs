//! `cargo xtask test`: every check there is, with what it needs installed first.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{
    bpf, build, cuda, dist, fuzz, jax, lab, level_zero, opencl, packages, paths, perfetto,
    prometheus,
    shell::{cargo, is_root, run, step, succeeds, which},
};

/// Seconds for each fuzz target.
const FUZZED: u64 = 4;
const FUZZED_IN_FULL: u64 = 60;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// On five releases of ttnn instead of two, the libraries of every release, and longer fuzzing
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

    if packages::have_apt() && (which("gcc").is_none() || which("g++").is_none()) {
        // The C++ compiler is for Tracy's client, and for the tests' double of the library.
        packages::install(&["gcc", "g++", "libc6-dev"])?;
    }

    // One failure does not hide the others.
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    };
    step("formatting");
    check(
        "formatting",
        run(cargo(&repository).args(["fmt", "--all", "--check"])),
    );
    // A workspace of its own.
    let fuzz = ["fmt", "--check", "--manifest-path", "tests/fuzz/Cargo.toml"];
    check("formatting", run(cargo(&repository).args(fuzz)));
    step("clippy");
    check(
        "clippy",
        lint(&repository, &["--workspace", "--all-targets"]),
    );
    // The wire format: no member of the workspace, so it is asked for by itself.
    check(
        "clippy",
        lint(
            &repository,
            &["--manifest-path", "memmon-ebpf/Cargo.toml", "--lib"],
        ),
    );
    match bpf::check_if_possible() {
        Ok(None) => {}
        Ok(Some(reason)) => step(format!(
            "NOT CHECKED, whether the BPF object is what its sources build to: {reason}"
        )),
        Err(error) => check("BPF object", Err(error)),
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
    // They format the manual pages, read a library's build id, judge the daemon's unit, trace what is
    // observed, and trace the observer.
    for (tool, package) in [
        ("groff", "groff-base"),
        ("readelf", "binutils"),
        ("systemd-analyze", "systemd"),
        ("gdb", "gdb"),
        ("strace", "strace"),
    ] {
        if packages::have_apt() && which(tool).is_none() {
            packages::install(&[package])?;
        }
    }
    let prometheus = prometheus::folder(&cache);
    check("Perfetto", perfetto::install(&cache));
    lab::vulkan::prepare(&cache);
    level_zero::install();
    opencl::install(&cache);
    cuda::install(&cache);
    jax::install(&cache);
    let binary = build::release(&repository)?;

    check("verifier", verified(&binary, root));

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
    if args.full {
        test.env("MEMMON_LIBTT_ALL", "1");
    }
    match prometheus {
        Ok(folder) => {
            test.env("MEMMON_PROMETHEUS", folder);
        }
        // The tests that need it fail, too.
        Err(error) => check("Prometheus", Err(error)),
    }
    if !root {
        // Cargo builds as the user; the tests alone run as root.
        test.env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
            "sudo --preserve-env=MEMMON_LAB,MEMMON_VERSIONS,MEMMON_LIBTT_DIR,MEMMON_LIBTT_ALL,MEMMON_PROMETHEUS,MEMMON_BIN,HOME,PATH",
        );
    }
    check("tests", run(&mut test));
    if args.full {
        step("the statically linked program");
        let alone = dist::make().and_then(|binary| {
            let words = ["--test", "errors", "--test", "late"];
            run(test.args(words).env("MEMMON_BIN", binary))
        });
        check("the statically linked program", alone);
    }
    check(
        "fuzzing",
        fuzz::check(if args.full { FUZZED_IN_FULL } else { FUZZED }),
    );
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Instructions that the kernel's verifier may have to go through for the program that every probe runs. It gives up at
/// a million; older kernels see fewer states as equal than the one that this runs on.
const MOST_VERIFIED: u64 = 150_000;

/// Says how many there are.
fn verified(binary: &Path, root: bool) -> Result<()> {
    let mut doctor = Command::new(if root {
        binary.as_os_str()
    } else {
        "sudo".as_ref()
    });
    if !root {
        doctor.arg(binary);
    }
    // It finds fault with much that does not concern this: what it says counts.
    let output = doctor.args(["doctor", "--format", "json"]).output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let count = report["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|check| check["finding"].as_str())
        .find_map(|finding| {
            let (before, _) = finding.split_once(" instructions verified a probe")?;
            before.rsplit('(').next()?.parse::<u64>().ok()
        });
    match count {
        Some(count) if count > MOST_VERIFIED => bail!(
            "the verifier goes through {count} instructions of a probe, {MOST_VERIFIED} at the most are wanted"
        ),
        Some(count) => step(format!(
            "{count} instructions verified a probe, {MOST_VERIFIED} at the most"
        )),
        None => {
            step("NOT CHECKED, how many instructions are verified a probe: the kernel does not say")
        }
    }
    Ok(())
}

fn lint(repository: &Path, words: &[&str]) -> Result<()> {
    let mut clippy = cargo(repository);
    clippy
        .args(["clippy", "--quiet", "--ignore-rust-version"])
        .args(words);
    run(clippy.args(["--", "-D", "warnings"]))
}
