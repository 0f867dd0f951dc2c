//! C++ internals by a profile of one's own, without a return probe on anything that can throw: JAX on the CPU. The judge
//! is what the program knows of its arrays.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    memmon::Daemon,
    optional::fetched,
    record::{Recorded, same, usage_known},
};

fn arrays() -> Result<()> {
    let python = fetched("jax/bin/python")?;
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
    usage_known(&daemon, pid)?;
    child.stdin.as_mut().context("stdin")?.write_all(b"\n")?;
    let program = Recorded::reading(child, stdout)?;
    ensure!(program.said["allocations"] == 100 && program.said["frees"] == 80);
    same(&daemon, &program, "jax-cpu", |_, bytes| Some(bytes))?;
    program.end()
}

memmon_tests::cases![arrays,];
