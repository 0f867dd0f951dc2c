//! Recordings that are large, cut off, damaged, or cannot be written.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use memmon::{recording::Recording, tables::snapshot::Snapshot};
use memmon_tests::{
    check::{holds, running},
    disk::Disk,
    fixture::{Driver, Fault, Fixture, Layout, number},
    memmon::{self as program, charged},
    recorder::{Recorder, between, driver, ready, replay, snapshot},
};
use serde_json::Value;

/// A recording of allocations of one size, some seconds long.
fn growing() -> Result<(Vec<u8>, u32, u64)> {
    let (recorder, mut driver) = ready()?;
    let mut each = 0;
    for at in 0..30 {
        let answer = driver.ask(&format!("alloc a{at} DRAM 65536 4096"))?;
        each = number(&answer, "truth", 0, "DRAM") / (at + 1);
        sleep(Duration::from_millis(20));
    }
    let (file, _folder, _) = recorder.finish()?;
    Ok((std::fs::read(file)?, driver.pid(), each))
}

/// How many allocations this recording knows of; none where it is none.
fn known(bytes: &[u8], pid: u32, each: u64) -> Result<Option<(u64, String)>> {
    let mut file = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut file, bytes)?;
    let output = replay(file.path(), &["--format", "json"])?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(!said.contains("panicked"), "{said}");
    match output.status.code() {
        Some(0) => {
            let snapshot: Snapshot = serde_json::from_slice(&output.stdout)?;
            let held = charged(&snapshot, pid, 0, "DRAM").unwrap_or(0);
            ensure!(held.is_multiple_of(each), "{held} is no multiple of {each}");
            Ok(Some((held / each, said)))
        }
        Some(1) if said.lines().count() == 1 => Ok(None),
        code => bail!("{code:?}: {said}"),
    }
}

#[test]
fn cut_off_and_damaged() -> Result<()> {
    let (whole, pid, each) = growing()?;
    assert_eq!(known(&whole, pid, each)?, Some((30, String::new())));
    let mut last = 0;
    for end in (0..whole.len()).step_by((whole.len() / 150).max(1)) {
        match known(&whole[..end], pid, each)? {
            Some((count, said)) => {
                ensure!(
                    count >= last,
                    "{count} allocations at byte {end}, {last} before"
                );
                ensure!(
                    !said.is_empty(),
                    "nothing is said of what is missing at {end}"
                );
                last = count;
            }
            None => assert_eq!(last, 0, "at byte {end}"),
        }
    }
    ensure!((20..=30).contains(&last), "{last}");
    for at in (0..whole.len()).step_by((whole.len() / 150).max(1)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        if let Some((count, said)) = known(&damaged, pid, each)? {
            ensure!(!said.is_empty(), "the damage at {at} is not noticed");
            ensure!(count <= 30, "{count}");
        }
    }
    // Without any warning: the power is gone, or somebody kills it.
    let (mut recorder, mut driver) = ready()?;
    let answer = driver.ask("leak 3 8192")?;
    sleep(Duration::from_millis(400));
    recorder.child.kill()?;
    recorder.child.wait()?;
    let seen = snapshot(&recorder.file(), "end")?;
    holds(running(&seen, driver.pid()).context("it runs")?, &answer)
}

/// Those that record as fast as they can: two at a time are too much for two processors.
static HEAVY: Mutex<()> = Mutex::new(());

#[test]
fn a_million_events() -> Result<()> {
    let _alone = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
    let (recorder, mut driver) = ready()?;
    driver.patience = Duration::from_secs(120);
    driver.ask("alloc kept DRAM 2097152 2048")?;
    let answer = driver.ask("burst 500000 threads 2")?;
    let (file, folder, said) = recorder.finish()?;
    let begin = Instant::now();
    let seen = snapshot(&file, "end")?;
    let took = begin.elapsed();
    holds(running(&seen, driver.pid()).context("it runs")?, &answer)?;
    let begin = Instant::now();
    let csv = folder.path().join("events.csv");
    let output = replay(
        &file,
        &[
            "--format",
            "events-csv",
            "-o",
            csv.to_str().context("plain")?,
        ],
    )?;
    ensure!(output.status.success());
    let exported = begin.elapsed();
    let recording = Recording::open(&file)?;
    let events = recording.events();
    let bytes = std::fs::metadata(&file)?.len();
    println!(
        "{events} events in {bytes} bytes: {:.1} an event; the end after {:.2} s, all as CSV after {:.2} s; {said}",
        bytes as f64 / events as f64,
        took.as_secs_f64(),
        exported.as_secs_f64()
    );
    ensure!(
        events >= 1_000_001 || seen.health.lost_events > 0,
        "{events}"
    );
    ensure!(bytes < events * 16, "{bytes} bytes");
    ensure!(took < Duration::from_secs(10) && exported < Duration::from_secs(60));
    // The last line of the program's own is what it holds.
    let text = std::fs::read_to_string(csv)?;
    let mine = format!(",{},", driver.pid());
    let last = text
        .lines()
        .rfind(|line| line.contains(&mine))
        .context("lines")?;
    let held = last
        .split(',')
        .nth(11)
        .and_then(|held| held.parse::<u64>().ok());
    assert_eq!(held, Some(number(&answer, "truth", 0, "DRAM")), "{last}");
    Ok(())
}

#[test]
fn where_it_cannot_be_written() -> Result<()> {
    // Full.
    let disk = Disk::in_memory("size=64k")?;
    let file = disk.path().join("recording");
    let mut driver = driver()?;
    let pid = driver.pid().to_string();
    let mut recorder = Recorder::start_in(tempfile::tempdir()?, &file, &["-p", &pid])?;
    // What fits, in a frame of its own; then what does not.
    driver.ask("threads 8 2 count 40 keep 9")?;
    sleep(Duration::from_millis(2500));
    driver.ask("threads 8 2 count 40000 keep 9")?;
    let (code, said) = recorder.wait()?;
    assert_eq!(code, Some(1), "{said}");
    ensure!(
        said.contains("No space left") && said.lines().count() == 1,
        "{said}"
    );
    let recording = Recording::open(&file)?;
    ensure!(recording.events() > 100);
    assert!(replay(&file, &["--format", "json"])?.status.success());

    // Read-only, no such folder, there already.
    let disk = Disk::in_memory("size=64k,ro")?;
    let there = tempfile::NamedTempFile::new()?;
    std::fs::write(there.path(), "mine")?;
    for (path, words) in [
        (disk.path().join("x"), "Read-only"),
        (PathBuf::from("/no/such/folder/x"), "No such file"),
        (there.path().to_owned(), "--force"),
    ] {
        let output = program::run(&["record", "-o", path.to_str().context("plain")?])?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{said}");
        ensure!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
    assert_eq!(std::fs::read(there.path())?, b"mine");

    // A pipe whose reader leaves.
    let mut child = program::command(["record", "-r", "100", "-o", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdout.take().context("its output")?;
    pipe.read_exact(&mut [0; 8])?;
    drop(pipe);
    driver.ask("leak 3 8192")?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    ensure!(
        said.contains("Broken pipe") && said.lines().count() == 1,
        "{said}"
    );
    Ok(())
}

/// Through a pipe, out and in; and what is no recording.
#[test]
fn pipes_and_other_files() -> Result<()> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("recording");
    // With a command of its own, whose exit code it has.
    let mut command = program::command(["record", "-r", "100", "-o"]);
    command.arg(&file).arg("--").arg(fixture.driver());
    command.stderr(Stdio::null());
    let mut driver = Driver::spawn(command)?;
    let answer = driver.ask("leak 3 8192")?;
    // Its library was met a moment ago: before that is read what it held, a recording shows less.
    sleep(Duration::from_secs(1));
    let moment = between()?;
    driver.tell("exit 7")?;
    driver.answer()?;
    assert_eq!(driver.wait()?.code(), Some(7));
    let seen = snapshot(&file, &moment)?;
    assert_eq!(seen.processes.len(), 1, "its own, and no other");
    holds(&seen.processes[0], &answer)?;
    // Their outputs would run into each other.
    let output = program::run(&["record", "-o", "-", "--", "true"])?;
    assert_eq!(output.status.code(), Some(2));

    let output = program::command(["record", "-o", "-", "--duration", "0.5"])
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success());
    let whole = folder.path().join("whole");
    std::fs::write(&whole, output.stdout)?;
    let output = program::command(["replay", "-", "--format", "json"])
        .stdin(File::open(&whole)?)
        .output()?;
    ensure!(output.status.success() && output.stderr.is_empty());
    let _: Snapshot = serde_json::from_slice(&output.stdout)?;
    let mut newer = b"\x89memmon\n".to_vec();
    newer.extend([99, 0, 0, 0].iter().chain(&[0; 40]));
    for (bytes, words) in [
        (
            b"{\"schema\": \"memmon.snapshot/1\"}".to_vec(),
            "no recording",
        ),
        (newer, "format 99"),
        (b"\x89memmon\n".to_vec(), "beginning of a recording"),
    ] {
        let path = folder.path().join("other");
        std::fs::write(&path, bytes)?;
        let output = replay(&path, &[])?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(1) && said.contains(words),
            "{said}"
        );
    }
    Ok(())
}

/// The latest is kept, in two files that each stand alone.
#[test]
fn no_larger_than_allowed() -> Result<()> {
    let _alone = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
    let recorder = Recorder::start(&["--max-size", "1M"])?;
    let mut driver = driver()?;
    driver.patience = Duration::from_secs(120);
    let mut answer = Value::Null;
    for _ in 0..8 {
        answer = driver.ask("threads 8 2 count 20000 keep 9")?;
        sleep(Duration::from_millis(150));
    }
    let (file, folder, said) = recorder.finish()?;
    let older = folder.path().join("recording.1");
    ensure!(older.exists(), "{said}");
    let size = |path: &Path| -> Result<u64> { Ok(std::fs::metadata(path)?.len()) };
    ensure!(size(&file)? + size(&older)? < 3 << 20, "{said}");
    let seen = snapshot(&file, "end")?;
    holds(running(&seen, driver.pid()).context("it runs")?, &answer)?;
    assert!(replay(&older, &["--format", "json"])?.status.success());
    Ok(())
}
