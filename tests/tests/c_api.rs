//! A runtime that nobody but its user knows: a profile of one's own, return values and all, in the
//! same BPF programs. The judge is what the program itself wrote down.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    memmon::{Daemon, process},
};

fn build(dir: &Path, flags: &[&str]) -> Result<()> {
    let library = [
        "-shared",
        "-fPIC",
        "-Wl,-soname,libdev.so.1",
        "-o",
        "libdev.so.1",
        &source("c-api/dev.c"),
    ];
    cc(dir, &[flags, &library].concat())?;
    let program = [
        "-o",
        "program",
        &source("c-api/program.c"),
        "./libdev.so.1",
        "-Wl,-rpath,$ORIGIN",
    ];
    cc(dir, &[flags, &program].concat())
}

#[test]
fn a_profile_of_ones_own() -> Result<()> {
    observed(&["-O1"])?;
    Ok(())
}

/// None of these functions begins with an instruction that the kernel emulates. Their probes stand further on, all but
/// those of the two that change their arguments first, and all is counted as it was.
#[test]
fn functions_that_do_not_begin_with_a_push() -> Result<()> {
    let notes = observed(&["-O2", "-fcf-protection=full"])?;
    ensure!(
        matches!(&notes[..], [note] if note.starts_with("4 of 9 probes are single-stepped")),
        "{notes:?}"
    );
    Ok(())
}

/// A daemon counts what goes wrong in all copies of the library: it has no other test's beside its own.
static LIBRARY: Mutex<()> = Mutex::new(());

/// Runs the program on a library built so; returns what the snapshot notes of the library.
fn observed(flags: &[&str]) -> Result<Vec<String>> {
    let _alone = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir()?;
    build(dir.path(), flags)?;
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/c-api.toml");
    let start = || {
        Command::new(dir.path().join("program"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    };
    // One that runs already makes the library known: it is attached before the next begins.
    let mut before = start()?;
    let mut said = String::new();
    BufReader::new(before.stdout.take().context("stdout")?).read_line(&mut said)?;
    let profile = profile.to_str().context("a plain path")?;
    let daemon = Daemon::start(&["--profile", profile])?;

    // Start times are told in hundredths of a second: surely after the attachment.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let mut program = start()?;
    let mut line = String::new();
    BufReader::new(program.stdout.take().context("stdout")?).read_line(&mut line)?;
    let truth: Vec<u64> = line
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let snapshot = daemon.snapshot()?;
    let seen = process(&snapshot, program.id()).context("the program")?;
    let rows = seen.usage.as_ref().context("its usage")?;
    let row = |pool: &str| rows.iter().find(|row| row.pool == pool).context("a row");
    let device = row("DEVICE")?;
    assert_eq!(seen.since, "start");
    assert_eq!(
        (
            device.requested_bytes,
            device.charged_bytes,
            device.live_allocations
        ),
        (Some(truth[0]), Some(truth[0]), Some(truth[1]))
    );
    assert_eq!(
        (device.allocations, device.frees, device.failed_allocations),
        (Some(110), Some(truth[2]), Some(truth[3]))
    );
    let host = row("HOST")?;
    assert_eq!(
        (host.charged_bytes, host.live_allocations),
        (Some(truth[4]), Some(truth[5]))
    );
    assert_eq!(snapshot.health.unknown_frees, 0);
    // What the first one holds is not known, and not said.
    let old = process(&snapshot, before.id()).context("the first program")?;
    assert_eq!(old.since, "attach");
    for mut child in [before, program] {
        drop(child.stdin.take());
        ensure!(child.wait()?.success());
    }
    let here = dir.path().display().to_string();
    let library = snapshot
        .libraries
        .into_iter()
        .find(|library| library.path.starts_with(&here))
        .context("the library")?;
    assert_eq!(library.problem, None);
    Ok(library.notes)
}
