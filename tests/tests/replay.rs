//! Every moment of a recording against what the programs in it said of themselves then.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::{
    recording::{Cursor, Recording},
    tables::snapshot::Snapshot,
};
use memmon_tests::{
    check::{self, counts, holds, running},
    fixture::number,
    lab,
    memmon::{self as program, Daemon, charged, process},
    people::Open,
    recorder::{Recorder, between, driver, perfetto, ready, snapshot},
    screen::Screen,
};
use serde_json::Value;

#[test]
fn every_moment_is_what_the_program_said_then() -> Result<()> {
    let (mut recorder, mut driver) = ready()?;
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
    let public = Open::program_alone()?;
    let copy = public.path().join("recording");
    std::fs::copy(recorder.file(), &copy)?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o644))?;
    let file = copy.to_str().context("plain")?;
    let output = public.without_rights(&["replay", file, "--format", "json"])?;
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
    late.ask("open chips 2 l1_small 16384")?;
    late.ask("threads 3 2 count 500 keep 70")?;
    let answer = late.ask("alloc c L1_SMALL 4096 64")?;
    let said = daemon.snapshot()?;
    let (file, _folder, _) = recorder.finish()?;
    let seen = snapshot(&file, "end")?;
    assert_eq!(process(&seen, early.pid()), process(&said, early.pid()));
    // Two observers may see its threads in different orders: the peak between two steps is each one's own.
    let without_peaks = |snapshot, pid| {
        let mut process = process(snapshot, pid)?.clone();
        for usage in process.usage.iter_mut().flatten() {
            usage.peak_charged_bytes = None;
        }
        Some(process)
    };
    assert_eq!(
        without_peaks(&seen, late.pid()),
        without_peaks(&said, late.pid())
    );
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
            // It may have started before its library was attached: then it is recovered first.
            let until = Instant::now() + Duration::from_secs(20);
            while timeline.is_empty() && !is_as_told(&snapshot(&recorder.file(), "end")?, &step) {
                ensure!(Instant::now() < until, "{step:?} is not recorded");
                sleep(Duration::from_millis(50));
            }
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

fn is_as_told(seen: &Snapshot, step: &lab::Step) -> bool {
    running(seen, step.pid).is_some()
        && step.truth.iter().all(|(chip, pools)| {
            pools
                .iter()
                .all(|(pool, bytes)| charged(seen, step.pid, *chip, pool) == Some(*bytes))
        })
}

/// Allocations one after the other, each told by the program; every event is stepped to.
#[test]
fn event_by_event() -> Result<()> {
    let (recorder, mut driver) = ready()?;
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

/// By Perfetto's own schema: every counter goes through what the program said, to the end.
#[test]
fn what_perfetto_opens() -> Result<()> {
    let (recorder, mut driver) = ready()?;
    let mut told: Vec<u64> = Vec::new();
    let pid = driver.pid();
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
    // Where its memory lay cannot be found out any more once it is dead.
    let until = Instant::now() + Duration::from_secs(20);
    while charged(&snapshot(&recorder.file(), "end")?, pid, 1, "DRAM") != told.last().copied() {
        ensure!(Instant::now() < until, "{pid} is not recorded");
        sleep(Duration::from_millis(20));
    }
    driver.signal(libc::SIGKILL)?;
    driver.wait()?;
    sleep(Duration::from_millis(400));
    let (file, folder, _) = recorder.finish()?;
    let read = perfetto(&file, folder.path())?;
    assert_eq!(
        (&read["unknown_fields"], &read["unordered"]),
        (&0.into(), &0.into())
    );
    let counter = &read["counters"][format!("{pid} tt-metal:1 DRAM")];
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

/// The full-screen view of a recording, at the moments that keys go to.
#[test]
fn on_a_terminal() -> Result<()> {
    let (recorder, mut driver) = ready()?;
    driver.ask("alloc a DRAM 2097152 2048")?;
    driver.ask("oom")?;
    driver.ask("free a")?;
    let pid = driver.pid();
    let (file, _folder, _) = recorder.finish()?;
    let mut command = program::command(["replay"]);
    command.arg(&file).args(["-p", &pid.to_string()]);
    let mut screen = Screen::start(command, (220, 40))?;
    let row = |text: &str| -> String {
        let pid = pid.to_string();
        let is_it = |line: &&str| line.split_whitespace().next() == Some(&pid);
        text.lines().find(is_it).unwrap_or_default().to_owned()
    };
    // What it holds, and its peak.
    let held = |text: &str| row(text).matches("2.02").count() == 2;
    let words = |text: &str, word: &str| row(text).split_whitespace().any(|it| it == word);
    screen.until("the beginning, without it", |text| {
        text.contains("x1") && !held(text)
    })?;
    screen.press("]")?;
    screen.until("its allocation", |text| {
        text.contains("alloc 2.00 MiB of DRAM") && held(text)
    })?;
    // To the failure, and over the end back to before it.
    screen.press("}")?;
    screen.until("its failure", |text| words(text, "1") && held(text))?;
    screen.press(")")?;
    screen.until("the end", |text| !row(text).is_empty() && !held(text))?;
    screen.press("[[")?;
    screen.until("before the free", |text| held(text))?;
    screen.press("q")?;
    ensure!(screen.ended()?.success());
    Ok(())
}
