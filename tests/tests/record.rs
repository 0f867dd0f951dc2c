//! Recordings against what the programs in them said of themselves at each moment.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::memmon::{
    recording::{Cursor, Recording},
    tables::snapshot::Snapshot,
};
use anyhow::{Context as _, Result, bail, ensure};
use memmon_tests::{
    check::{self, counts, holds, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    lab,
    memmon::{self, Daemon, charged, process},
    nobody::Public,
};
use serde_json::Value;

/// A recording that is being made. It is ready: what happens from here on is in it.
struct Recorder {
    child: Child,
    folder: tempfile::TempDir,
}

impl Recorder {
    fn start(args: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("recording");
        Self::start_in(folder, &file, args)
    }

    fn start_in(folder: tempfile::TempDir, file: &Path, args: &[&str]) -> Result<Self> {
        let child = memmon::command(["record", "-r", "100", "-o"])
            .arg(file)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut recorder = Self { child, folder };
        let until = Instant::now() + Duration::from_secs(30);
        while Recording::open(file).is_err() {
            if recorder.child.try_wait()?.is_some() || Instant::now() > until {
                bail!("it records nothing: {}", recorder.end()?.1);
            }
            sleep(Duration::from_millis(10));
        }
        Ok(recorder)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("recording")
    }

    /// Its exit code, and what it said.
    fn end(&mut self) -> Result<(Option<i32>, String)> {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGINT) };
        self.wait()
    }

    fn wait(&mut self) -> Result<(Option<i32>, String)> {
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut said)?;
        }
        Ok((self.child.wait()?.code(), said))
    }

    /// The recording, ended as one does.
    fn finish(mut self) -> Result<(PathBuf, tempfile::TempDir, String)> {
        let (code, said) = self.end()?;
        ensure!(code == Some(0), "{code:?}: {said}");
        ensure!(said.contains("recorded "), "{said}");
        Ok((
            self.file(),
            std::mem::replace(&mut self.folder, tempfile::tempdir()?),
            said,
        ))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn replay(file: &Path, args: &[&str]) -> Result<Output> {
    let mut command = memmon::command(["replay"]);
    command.arg(file).args(args).stdin(Stdio::null());
    Ok(command.output()?)
}

fn snapshot(file: &Path, at: &str) -> Result<Snapshot> {
    let output = replay(file, &["--format", "json", "--at", at])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn driver() -> Result<Driver> {
    Fixture::get(Layout::Pimpl, Fault::None)?.spawn()
}

/// The wall clock, as `--at` takes it.
fn now() -> Result<String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ", "-d"])
        .arg(format!("@{}.{:09}", since.as_secs(), since.subsec_nanos()))
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A moment between two steps: well after this one, and before the next.
fn between() -> Result<String> {
    sleep(Duration::from_millis(15));
    let moment = now()?;
    sleep(Duration::from_millis(15));
    Ok(moment)
}

#[test]
fn every_moment_is_what_the_program_said_then() -> Result<()> {
    let mut recorder = Recorder::start(&[])?;
    let mut driver = driver()?;
    let mut timeline: Vec<(&str, String, Value)> = Vec::new();
    for step in [
        "open chips 2 l1_small 16384 trace 1048576",
        "alloc a DRAM 2097152 2048",
        "alloc b L1 32768 4096 shards 8",
        "alloc c L1_SMALL 4096 64",
        "alloc d TRACE 65536 4096",
        "free a",
        "oom",
        "burst 2000 threads 2",
        "threads 3 2 count 50 keep 7",
        "alloc e DRAM 12288 4096 shards 3",
        "leak 3 8192",
        "close",
        "reopen",
        "alloc f DRAM 65536 4096",
        "free f",
        "alloc g L1 65536 4096",
    ] {
        let answer = driver.ask(step)?;
        timeline.push((step, between()?, answer));
    }
    let pid = driver.pid();
    driver.finish()?;
    sleep(Duration::from_millis(300));
    let (code, said) = recorder.end()?;
    ensure!(code == Some(0), "{said}");
    for (step, moment, answer) in &timeline {
        let seen = snapshot(&recorder.file(), moment)?;
        ensure!(
            seen.taken_at
                .starts_with(moment.trim_end_matches(['0', 'Z'])),
            "{}",
            seen.taken_at
        );
        let process = running(&seen, pid).with_context(|| format!("no {pid} after `{step}`"))?;
        holds(process, answer).with_context(|| format!("after `{step}`"))?;
        counts(process, answer).with_context(|| format!("after `{step}`"))?;
        let failures = seen
            .failures
            .iter()
            .filter(|failure| failure.pid == pid)
            .count();
        assert_eq!(
            Some(failures as u64),
            answer["failed"].as_u64(),
            "after `{step}`"
        );
    }
    let last = snapshot(&recorder.file(), "end")?;
    // Looking needs no rights.
    let public = Public::new()?;
    let copy = public.directory().join("recording");
    std::fs::copy(recorder.file(), &copy)?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o644))?;
    let file = copy.to_str().context("plain")?;
    let output = public.as_nobody(&["replay", file, "--format", "json"])?;
    assert_eq!(serde_json::from_slice::<Snapshot>(&output.stdout)?, last);
    assert_eq!(process(&last, pid).context("it is there")?.state, "exited");
    Ok(())
}

#[test]
fn the_end_is_what_a_daemon_says() -> Result<()> {
    // Before the recorder: it is recovered.
    let mut early = driver()?;
    early.ask("open chips 2")?;
    early.ask("alloc a DRAM 2097152 2048")?;
    let before = early.ask("leak 5 8192")?;
    let daemon = Daemon::start(&[])?;
    let recorder = Recorder::start(&[])?;
    let mut late = driver()?;
    late.ask("threads 3 2 count 500 keep 70")?;
    let answer = late.ask("alloc c L1_SMALL 4096 64")?;
    let said = daemon.snapshot()?;
    let (file, _folder, _) = recorder.finish()?;
    let seen = snapshot(&file, "end")?;
    for pid in [early.pid(), late.pid()] {
        assert_eq!(process(&seen, pid), process(&said, pid));
    }
    for (pid, answer) in [(early.pid(), &before), (late.pid(), &answer)] {
        holds(running(&seen, pid).context("it runs")?, answer)?;
    }

    // One by one, too, those from before the recording among them.
    let mut cursor = Cursor::new(Arc::new(Recording::open(&file)?))?;
    cursor.seek(u64::MAX)?;
    for (driver, answer) in [(&early, &before), (&late, &answer)] {
        let proc = cursor
            .replica
            .tables
            .running()
            .find(|(_, pid)| *pid == driver.pid());
        let (proc, _) = proc.context("it is known")?;
        let live = cursor
            .replica
            .live
            .iter()
            .filter(|entry| entry.proc == proc);
        let sum = live.fold((0, 0), |sum, entry| (sum.0 + 1, sum.1 + entry.charged));
        let told = |what: &str| -> u64 {
            let pools = check::POOLS.iter();
            pools.map(|pool| number(answer, what, 0, pool)).sum()
        };
        assert_eq!(sum, (told("live"), told("truth")));
    }
    Ok(())
}

#[test]
fn the_real_runtime() -> Result<()> {
    for version in lab::versions()? {
        let recorder = Recorder::start(&[])?;
        let mut workload = lab::Workload::start(&version, "workload.py", &[])?;
        let mut timeline = Vec::new();
        while let Some(step) = workload.step()? {
            timeline.push((between()?, step));
        }
        let (file, _folder, _) = recorder.finish()?;
        ensure!(timeline.len() > 5, "{timeline:?}");
        for (moment, step) in timeline {
            let seen = snapshot(&file, &moment)?;
            for (chip, pools) in &step.truth {
                for (pool, bytes) in pools {
                    let charged = charged(&seen, step.pid, *chip, pool);
                    assert_eq!(
                        charged,
                        Some(*bytes),
                        "{version} {}: {chip} {pool}",
                        step.name
                    );
                }
            }
        }
    }
    Ok(())
}

/// Allocations one after the other, each told by the program; every event is stepped to.
#[test]
fn event_by_event() -> Result<()> {
    let recorder = Recorder::start(&[])?;
    let mut driver = driver()?;
    let mut told = Vec::new();
    for at in 0..40 {
        let answer = match at % 3 {
            2 => driver.ask(&format!("free a{}", at - 1))?,
            _ => driver.ask(&format!("alloc a{at} DRAM {} 2048", (at + 1) * 20480))?,
        };
        told.push(number(&answer, "truth", 0, "DRAM"));
    }
    let (file, _folder, _) = recorder.finish()?;
    let mut cursor = Cursor::new(Arc::new(Recording::open(&file)?))?;
    let pid = driver.pid();
    let held = |cursor: &Cursor| charged(&cursor.replica.snapshot(String::new()), pid, 0, "DRAM");
    let mut seen = Vec::new();
    for step in 1..=cursor.recording().events() {
        cursor.seek_event(step)?;
        if cursor.last_event().is_some_and(|event| event.pid == pid) {
            seen.push((step, held(&cursor)));
        }
    }
    let expected: Vec<_> = told.iter().map(|bytes| Some(*bytes)).collect();
    assert_eq!(
        seen.iter().map(|(_, held)| *held).collect::<Vec<_>>(),
        expected
    );
    for (step, before) in seen.iter().rev() {
        cursor.seek_event(*step)?;
        assert_eq!(held(&cursor), *before);
    }
    Ok(())
}

/// A recording of allocations of one size, some seconds long.
fn growing(recorder: Recorder) -> Result<(Vec<u8>, u32, u64)> {
    let mut driver = driver()?;
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
            ensure!(held % each == 0, "{held} is no multiple of {each}");
            Ok(Some((held / each, said)))
        }
        Some(1) if said.lines().count() == 1 => Ok(None),
        code => bail!("{code:?}: {said}"),
    }
}

#[test]
fn cut_off_and_damaged() -> Result<()> {
    let (whole, pid, each) = growing(Recorder::start(&[])?)?;
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
    let mut recorder = Recorder::start(&[])?;
    let mut driver = driver()?;
    let answer = driver.ask("leak 3 8192")?;
    sleep(Duration::from_millis(400));
    recorder.child.kill()?;
    recorder.child.wait()?;
    let seen = snapshot(&recorder.file(), "end")?;
    holds(running(&seen, driver.pid()).context("it runs")?, &answer)
}

#[test]
fn a_million_events() -> Result<()> {
    let recorder = Recorder::start(&[])?;
    let mut driver = driver()?;
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

/// By Perfetto's own schema: every counter goes through what the program said, to the end.
#[test]
fn what_perfetto_opens() -> Result<()> {
    let recorder = Recorder::start(&[])?;
    let mut driver = driver()?;
    let mut told: Vec<u64> = Vec::new();
    for step in [
        "open chips 2",
        "alloc a DRAM 2097152 2048",
        "alloc b DRAM 65536 4096",
        "free a",
        "oom",
        "freeall",
        "alloc c DRAM 4096 4096",
    ] {
        let answer = driver.ask(step)?;
        let held = number(&answer, "truth", 1, "DRAM");
        if told.last() != Some(&held) && (held > 0 || !told.is_empty()) {
            told.push(held);
        }
    }
    let pid = driver.pid();
    driver.signal(libc::SIGKILL)?;
    driver.wait()?;
    sleep(Duration::from_millis(400));
    let (file, folder, _) = recorder.finish()?;
    let trace = folder.path().join("trace");
    let path = trace.to_str().context("plain")?;
    ensure!(
        replay(&file, &["--format", "perfetto", "-o", path])?
            .status
            .success()
    );
    let lab = std::env::var_os("MEMMON_LAB").context("run `cargo xtask test`")?;
    let read = Path::new(env!("CARGO_MANIFEST_DIR")).join("perfetto/read.py");
    let output = Command::new(Path::new(&lab).join("perfetto/bin/python"))
        .arg(read)
        .arg(&trace)
        .output()
        .context("Perfetto's Python package is not there: run `cargo xtask test`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let read: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(
        (&read["unknown_fields"], &read["unordered"]),
        (&0.into(), &0.into())
    );
    let counter = &read["counters"][format!("{pid} device 1 DRAM")];
    let values = counter.as_array().context("no such counter")?;
    let values: Vec<u64> = values.iter().filter_map(|at| at[1].as_u64()).collect();
    // It is killed: what it held is gone.
    told.push(0);
    assert_eq!(values, told);
    let marks = read["instants"].as_array().context("marks")?;
    let mine: Vec<&str> = marks
        .iter()
        .filter(|mark| mark[0] == pid)
        .filter_map(|mark| mark[1].as_str())
        .collect();
    ensure!(
        mine.len() == 2 && mine[0].starts_with("failed: "),
        "{mine:?}"
    );
    assert_eq!(mine[1], "ended holding memory");
    Ok(())
}

/// A small file system of its own.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(options: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path())
            .status()?;
        ensure!(mounted.success(), "mounting a file system");
        Ok(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn where_it_cannot_be_written() -> Result<()> {
    // Full.
    let disk = Disk::of("size=64k")?;
    let file = disk.0.path().join("recording");
    let mut recorder = Recorder::start_in(tempfile::tempdir()?, &file, &[])?;
    let mut driver = driver()?;
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
    let disk = Disk::of("size=64k,ro")?;
    let there = tempfile::NamedTempFile::new()?;
    std::fs::write(there.path(), "mine")?;
    for (path, words) in [
        (disk.0.path().join("x"), "Read-only"),
        (PathBuf::from("/no/such/folder/x"), "No such file"),
        (there.path().to_owned(), "--force"),
    ] {
        let output = memmon::run(&["record", "-o", path.to_str().context("plain")?])?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{said}");
        ensure!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
    assert_eq!(std::fs::read(there.path())?, b"mine");

    // A pipe whose reader leaves.
    let mut child = memmon::command(["record", "-r", "100", "-o", "-"])
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
    let mut command = memmon::command(["record", "-r", "100", "-o"]);
    command.arg(&file).arg("--").arg(fixture.driver());
    command.stderr(Stdio::null());
    let mut driver = Driver::spawn(command)?;
    let answer = driver.ask("leak 3 8192")?;
    let moment = between()?;
    driver.tell("exit 7")?;
    driver.answer()?;
    assert_eq!(driver.wait()?.code(), Some(7));
    let seen = snapshot(&file, &moment)?;
    assert_eq!(seen.processes.len(), 1, "its own, and no other");
    holds(&seen.processes[0], &answer)?;
    // Their outputs would run into each other.
    let output = memmon::run(&["record", "-o", "-", "--", "true"])?;
    assert_eq!(output.status.code(), Some(2));

    let output = memmon::command(["record", "-o", "-", "--duration", "0.5"])
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success());
    let whole = folder.path().join("whole");
    std::fs::write(&whole, output.stdout)?;
    let output = memmon::command(["replay", "-", "--format", "json"])
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
