//! `cargo xtask bpf`: builds the BPF programs, the same bytes wherever it runs.

mod strip;
mod toolchain;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use self::toolchain::Toolchain;
use crate::{
    paths,
    shell::{capture, run, step},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Compare with the committed object instead of replacing it
    #[arg(long)]
    check: bool,
}

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "memmon-ebpf/object/memmon.bpf.o";
const RECORD: &str = "memmon-ebpf/object/TOOLCHAIN.txt";

pub fn main(args: &Args) -> Result<()> {
    let repository = paths::repository()?;
    let toolchain = Toolchain::find_or_install(&paths::cache()?)?;
    if args.check {
        check(&repository, &toolchain)
    } else {
        write(&repository, &toolchain)
    }
}

/// Compares the committed object with one built now, where this machine can have the toolchain.
/// Returns why not where it cannot.
pub fn check_if_possible() -> Result<Option<String>> {
    let repository = paths::repository()?;
    match Toolchain::find_or_install(&paths::cache()?) {
        Ok(toolchain) => check(&repository, &toolchain).map(|()| None),
        Err(error) => Ok(Some(format!("{error:#}"))),
    }
}

fn write(repository: &Path, toolchain: &Toolchain) -> Result<()> {
    let object = build(repository, toolchain)?;
    let (to, record) = (repository.join(OBJECT), repository.join(RECORD));
    let folder = to.parent().context("the object lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(&to, &object).with_context(|| format!("cannot write {}", to.display()))?;
    let sum = sha256(&to)?;
    std::fs::write(&record, format!("{}sha256 {sum}\n", toolchain.record()?))
        .with_context(|| format!("cannot write {}", record.display()))?;
    step(format!("{OBJECT}: {} bytes, sha256 {sum}", object.len()));
    Ok(())
}

fn check(repository: &Path, toolchain: &Toolchain) -> Result<()> {
    let committed = repository.join(OBJECT);
    let expected = std::fs::read(&committed)
        .with_context(|| format!("cannot read {}: run `cargo xtask bpf`", committed.display()))?;
    let built = build(repository, toolchain)?;
    if built == expected {
        step(format!(
            "{OBJECT} is what its sources build to, byte for byte ({} bytes)",
            built.len()
        ));
        return Ok(());
    }
    let kept = target(repository).join("memmon.bpf.o");
    std::fs::write(&kept, &built).with_context(|| format!("cannot write {}", kept.display()))?;
    bail!(
        "{OBJECT} is not what its sources build to.\n\
         committed: {} bytes, by\n{}\n\
         built now: {} bytes ({}), by\n{}\n\
         Run `cargo xtask bpf` and commit the result (with another toolchain, other bytes are to be expected).",
        expected.len(),
        std::fs::read_to_string(repository.join(RECORD))
            .unwrap_or_else(|error| format!("(no record: {error})")),
        built.len(),
        kept.display(),
        toolchain.record()?
    )
}

fn target(repository: &Path) -> PathBuf {
    paths::target(repository).join("bpf")
}

/// The stripped object.
fn build(repository: &Path, toolchain: &Toolchain) -> Result<Vec<u8>> {
    let source = repository.join("memmon-ebpf");
    let target = target(repository);
    step(format!(
        "building the BPF programs with {}",
        toolchain.rustc.display()
    ));
    let flags = [
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Atomics that return what was there.
        "-Ctarget-cpu=v3".to_owned(),
        // The same bytes wherever the sources and the registry lie.
        format!("--remap-path-prefix={}=/memmon", repository.display()),
        format!(
            "--remap-path-prefix={}=/cargo",
            paths::cargo_home()?.display()
        ),
    ];
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--ignore-rust-version",
        ])
        .args([
            "--features",
            "programs",
            "--bin",
            "memmon-bpf",
            "--target",
            TARGET,
        ])
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTC", &toolchain.rustc)
        // The compiler is a stable one: these two crates may use its unstable features.
        .env("RUSTC_BOOTSTRAP", "aya_ebpf,memmon_bpf")
        .env("RUSTC_WRAPPER", "")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_INCREMENTAL", "0");
    // Whatever the user has set for host builds does not concern this one.
    for name in [
        "RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "RUSTDOCFLAGS",
    ] {
        cargo.env_remove(name);
    }
    if let Some(libraries) = &toolchain.libraries {
        cargo.env("LD_LIBRARY_PATH", libraries);
    }
    run(&mut cargo)?;
    let built = target.join(TARGET).join("release/memmon-bpf");
    let bytes =
        std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    strip::debug_sections(&bytes).with_context(|| format!("cannot strip {}", built.display()))
}

fn sha256(file: &Path) -> Result<String> {
    let line = capture(Command::new("sha256sum").arg(file))?;
    Ok(line
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}
