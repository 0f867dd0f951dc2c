//! C++ internals by a profile of one's own, without a return probe on anything that can throw: JAX on the CPU. The judge
//! is what the program knows of its arrays.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    memmon::Daemon,
    record::{Recorded, acquainted, same},
};

/// None where the package could not be had.
fn python() -> Option<PathBuf> {
    let lab = std::env::var_os("MEMMON_LAB")?;
    let python = Path::new(&lab).join("jax/bin/python");
    python.exists().then_some(python)
}

#[test]
fn arrays() -> Result<()> {
    let Some(python) = python() else {
        println!(
            "not run: there is no jax in MEMMON_LAB; `cargo xtask test` installs it where it can"
        );
        return Ok(());
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(python)
        .arg(here.join("jax/program.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = child.id();
    // JAX is up, and holds what it needs for itself.
    let mut stdout = BufReader::new(child.stdout.take().context("stdout")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    ensure!(line == "ready\n", "{line:?}");
    let profile = here.join("profiles/jax-cpu.toml").display().to_string();
    let daemon = Daemon::start(&["--profile", &profile, "--runtime", "jax-cpu"])?;
    acquainted(&daemon, pid)?;
    child.stdin.as_mut().context("stdin")?.write_all(b"\n")?;
    let program = Recorded::reading(child, stdout)?;
    ensure!(program.said["allocations"] == 100 && program.said["frees"] == 80);
    same(&daemon, &program, "jax-cpu", |_, bytes| Some(bytes))?;
    program.end()
}
