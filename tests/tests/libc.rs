//! glibc's heap and mappings: a control that needs no accelerator. The judges are what the program wrote down, and
//! glibc's own count of what is in use.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    memmon::{Daemon, query},
    record::{Recorded, same, usage_known},
};

/// The probes stand in every program of the machine: not longer than has to be.
#[test]
fn heap_and_mappings() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (stubs, program) = (source("stubs"), source("libc/program.c"));
    cc(dir.path(), &["-I", &stubs, "-o", "program", &program])?;
    // The shell becomes the program once it is observed, so all that the program does is seen.
    let mut child = Command::new("sh")
        .args(["-c", "read go && exec ./program"])
        .current_dir(dir.path())
        // Blocks that a thread keeps at hand count as used otherwise.
        .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = child.id().to_string();
    let daemon = Daemon::start(&["--runtime", "libc", "--pid", &pid])?;
    usage_known(&daemon, child.id())?;
    let stdin = child.stdin.as_mut().context("stdin")?;
    stdin.write_all(b"\n")?;
    let program = Recorded::of(child)?;
    let said = &program.said;
    ensure!(said["allocations"].as_u64() > Some(150) && said["frees"].as_u64() > Some(50));
    ensure!(
        said["chunks"] == said["in_use"],
        "glibc itself counts otherwise: {} and {}",
        said["chunks"],
        said["in_use"]
    );
    let whole_pages = |pool: &str, bytes: u64| {
        Some(if pool == "MMAP" {
            bytes.next_multiple_of(4096)
        } else {
            bytes
        })
    };
    same(&daemon, &program, "libc", whole_pages)?;
    drop(daemon);
    program.end()
}

/// Everybody's heap is watched only where somebody asks for it by name.
#[test]
fn only_on_demand() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let snapshot = daemon.snapshot()?;
    ensure!(
        snapshot.libraries.iter().all(|one| one.runtime != "libc"),
        "{:#?}",
        snapshot.libraries
    );
    drop(daemon);
    // Without a daemon, too: nothing of it is looked for.
    let own = std::process::id().to_string();
    ensure!(query(&["--pid", &own]).is_err(), "a runtime in a test?");
    Ok(())
}
