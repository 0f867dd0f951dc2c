//! Outputs that cannot be written, or not any more: a disk that is full or turns read-only, and a
//! standard output that is closed. One error each, and nothing half written.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::{recording::Recording, tables::snapshot::Snapshot};
use memmon_tests::{
    check::{holds, running},
    disk::Disk,
    memmon::{Ward, binary, charged, command},
    recorder::{Recorder, driver, replay, snapshot},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// It failed, and said why, once.
fn fails(output: &Output, words: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(said.lines().count() == 1, "{said}");
    for word in words {
        ensure!(said.contains(word), "no `{word}` in {said}");
    }
    Ok(())
}

/// It ends by itself.
fn ended(mut child: Child) -> Result<Output> {
    let end = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            child.kill()?;
        }
        sleep(Duration::from_millis(20));
    }
    Ok(child.wait_with_output()?)
}

/// A stream of snapshots of this process into a file.
fn stream(pid: &str, file: &Path) -> Result<Child> {
    let child = command(["-p", pid, "-r", "100", "--format", "json", "-o"])
        .arg(file)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(child)
}

/// All that it holds, each of it whole.
fn whole_snapshots(file: &Path) -> Result<Vec<Snapshot>> {
    let text = fs::read_to_string(file)?;
    ensure!(text.is_empty() || text.ends_with('\n'), "half a line");
    let snapshots = text.lines().map(serde_json::from_str);
    Ok(snapshots.collect::<Result<_, _>>()?)
}

/// The names of what lies there, but for what the file system has itself.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().into_string();
        names.push(name.ok().context("plain")?);
    }
    names.retain(|name| name != "lost+found");
    names.sort();
    Ok(names)
}

/// As the kernel does it to a disk with errors, while files are open for writing.
#[test]
fn a_disk_that_turns_read_only() -> Result<()> {
    let disk = Disk::journaled()?;
    let at = |name: &str| disk.path().join(name);
    let mut driver = driver()?;
    let pid = driver.pid().to_string();
    fs::write(at("old"), "mine")?;
    let mut recorder = Recorder::start_in(tempfile::tempdir()?, &at("recording"), &["-p", &pid])?;
    let streaming = stream(&pid, &at("stream"))?;
    let answer = driver.ask("leak 3 8192")?;
    let is_recorded = || {
        let seen = snapshot(&at("recording"), "end").ok();
        let process = seen.as_ref().and_then(|seen| running(seen, driver.pid()));
        process.is_some_and(|process| holds(process, &answer).is_ok())
    };
    until("it is recorded", is_recorded)?;
    until("it is in the stream", || {
        whole_snapshots(&at("stream")).is_ok_and(|all| all.len() > 1)
    })?;
    disk.fail()?;
    driver.ask("leak 5 8192")?;
    let (code, said) = recorder.wait()?;
    ensure!(
        code == Some(1) && said.lines().count() == 1,
        "{code:?}: {said}"
    );
    ensure!(
        said.contains("Read-only") && said.contains("replays"),
        "{said}"
    );
    fails(&ended(streaming)?, &["stream", "Read-only"])?;
    let seen = snapshot(&at("recording"), "end")?;
    holds(running(&seen, driver.pid()).context("it runs")?, &answer)?;
    ensure!(whole_snapshots(&at("stream"))?.len() > 1);
    // A snapshot leaves the old one, a new one is not there.
    let before = names(disk.path())?;
    for name in ["old", "new"] {
        let mut snapshot = command(["-q", "-p", &pid, "-o"]);
        fails(&snapshot.arg(at(name)).output()?, &[name, "Read-only"])?;
    }
    assert_eq!(fs::read(at("old"))?, b"mine");
    assert_eq!(names(disk.path())?, before);
    Ok(())
}

#[test]
fn a_disk_that_is_full() -> Result<()> {
    let disk = Disk::in_memory("size=256k")?;
    let at = |name: &str| disk.path().join(name);
    let mut driver = driver()?;
    let pid = driver.pid().to_string();
    driver.ask("leak 3 8192")?;
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("recording");
    let recorded = command(["record", "--duration", "0.5", "-p", &pid, "-o"])
        .arg(&recording)
        .output()?;
    ensure!(recorded.status.success());
    fs::write(at("old"), "mine")?;
    // The stream fills it; what is there of it is whole.
    fails(
        &ended(stream(&pid, &at("stream"))?)?,
        &["stream", "No space", "free some space"],
    )?;
    let seen = whole_snapshots(&at("stream"))?;
    let last = seen.last().context("snapshots")?;
    ensure!(charged(last, driver.pid(), 0, "DRAM").is_some());
    // To the last byte.
    let mut left = fs::File::create(at("left"))?;
    while std::io::Write::write(&mut left, &[0; 512]).is_ok() {}
    let before = names(disk.path())?;
    for name in ["old", "new"] {
        let path = at(name);
        let path = path.to_str().context("plain")?;
        let snapshot = command(["-q", "-p", &pid, "-o", path]).output()?;
        fails(&snapshot, &[name, "No space", "free some space"])?;
        for format in ["json", "events-csv", "perfetto"] {
            let output = replay(&recording, &["--format", format, "-o", path])?;
            fails(&output, &[name, "No space"]).with_context(|| format.to_owned())?;
        }
    }
    assert_eq!(fs::read(at("old"))?, b"mine");
    assert_eq!(names(disk.path())?, before);
    Ok(())
}

/// All commands that print, each with standard output as the shell line has it.
fn each(pid: &str, recording: &str, to: &str) -> Result<Vec<(String, Output)>> {
    let lines: [&[&str]; 8] = [
        &["-p", pid, "-r", "100", "--format", "json"],
        &["-p", pid, "-r", "100"],
        &["-q", "-p", pid],
        &["record", "-p", pid, "-r", "100", "-o", "-"],
        &["replay", recording, "--format", "json"],
        &["replay", recording, "--format", "events-csv"],
        &["audit", "-p", pid],
        &["profiles"],
    ];
    let each = lines.iter().map(|args| {
        let child = Command::new("sh")
            .args(["-c", &format!("exec \"$0\" \"$@\" {to}")])
            .arg(binary())
            .args(*args)
            .stdin(Stdio::null())
            .stdout(reader_gone()?)
            .stderr(Stdio::piped())
            .spawn()?;
        Ok((args.join(" "), ended(child)?))
    });
    each.collect()
}

/// A pipe that nobody reads from any more.
fn reader_gone() -> Result<std::io::PipeWriter> {
    Ok(std::io::pipe()?.1)
}

#[test]
fn a_standard_output_that_takes_nothing() -> Result<()> {
    let driver = driver()?;
    let pid = driver.pid().to_string();
    let recorder = Recorder::start(&["-p", &pid])?;
    let (file, _folder, _) = recorder.finish()?;
    ensure!(Recording::open(&file).is_ok());
    let file = file.to_str().context("plain")?;
    for (line, output) in each(&pid, file, ">&-")? {
        fails(&output, &["standard output", "closed"]).with_context(|| line.clone())?;
    }
    for (line, output) in each(&pid, file, ">/dev/full")? {
        fails(&output, &["No space"]).with_context(|| line.clone())?;
    }
    // `| head` has what it wanted, which is no error; but a recording is to be whole.
    for (line, output) in each(&pid, file, "")? {
        if line.starts_with("record") {
            fails(&output, &["Broken pipe"])?;
            continue;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{line}: {said}");
    }
    Ok(())
}

/// Where nothing goes to standard output, it may well be closed.
#[test]
fn a_standard_output_that_is_not_needed() -> Result<()> {
    let driver = driver()?;
    let pid = driver.pid().to_string();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("snapshot");
    let child = Command::new("sh")
        .args(["-c", "exec \"$0\" \"$@\" >&-"])
        .arg(binary())
        .args(["-q", "-p", &pid, "--format", "json", "-o"])
        .arg(&file)
        .spawn()?;
    ensure!(Ward(child).0.wait()?.success());
    let snapshot: Snapshot = serde_json::from_slice(&fs::read(&file)?)?;
    ensure!(running(&snapshot, driver.pid()).is_some());
    Ok(())
}
