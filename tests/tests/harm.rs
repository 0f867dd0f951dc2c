//! What is observed computes, prints, throws and ends as if nobody looked; and `run` is as if its
//! command had been started without it.

use std::{
    fs,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::Snapshot;
use memmon_tests::{
    check::{acquainted, counts, holds},
    fixture::{Fault, Fixture, Layout, number},
    memmon::{Daemon, command},
};
use serde_json::Value;

const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];

/// Programs, each as the driver's arguments.
const PROGRAMS: [&str; 6] = [
    "open chips 2 , alloc a DRAM 2097152 2048 , alloc b L1 8192 1024 , free a , close , report",
    "alloc a DRAM 65536 4096 , oom , oom L1 , alloc b DRAM 65536 4096 , report , quit",
    "alloc a DRAM 65536 4096 , oom_uncaught",
    "alloc a DRAM 65536 4096 , throw 5000 , oom , throw 5 , exit 7",
    "leak 20 8192 , fork , hooked 3 , cb 2 4096 , cbfree , thread_exit_mid , report",
    "alloc a DRAM 65536 4096 , kill9",
];

/// Standard output with its pids made the same.
fn said(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap_or_else(|_| line.into());
            for path in ["/pid", "/child/pid", "/child_pid"] {
                if let Some(pid) = value.pointer_mut(path) {
                    *pid = Value::Null;
                }
            }
            value
        })
        .collect()
}

fn words(program: &str) -> Vec<&str> {
    program.split(' ').collect()
}

fn play(program: &Path, args: &str) -> Result<Output> {
    Ok(Command::new(program)
        .args(words(args))
        .stdin(Stdio::null())
        .output()?)
}

#[test]
fn the_same_observed_and_not() -> Result<()> {
    for layout in BOTH {
        let fixture = Fixture::get(layout, Fault::None)?;
        let before: Vec<Output> = PROGRAMS
            .iter()
            .map(|args| play(&fixture.driver(), args))
            .collect::<Result<_>>()?;
        assert_eq!(before[0].status.code(), Some(0));
        assert_eq!(before[2].status.signal(), Some(libc::SIGABRT));
        assert_eq!(before[3].status.code(), Some(7));
        assert_eq!(before[5].status.signal(), Some(libc::SIGKILL));
        let first = fixture.spawn()?;
        let daemon = Daemon::start(&[])?;
        acquainted(&daemon, first.pid())?;
        for (args, before) in PROGRAMS.iter().zip(&before) {
            let events = daemon.snapshot()?.health.events;
            let after = play(&fixture.driver(), args)?;
            assert_eq!(after.status, before.status, "{layout:?} {args}");
            assert_eq!(said(&after), said(before), "{layout:?} {args}");
            assert_eq!(
                String::from_utf8_lossy(&after.stderr),
                String::from_utf8_lossy(&before.stderr)
            );
            // It was observed indeed.
            ensure!(daemon.snapshot()?.health.events > events, "{args}");
        }
    }
    Ok(())
}

/// Probes are placed and taken away while it runs, again and again.
#[test]
fn memmon_comes_and_goes() -> Result<()> {
    for layout in BOTH {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        driver.ask("alloc a DRAM 65536 4096")?;
        for _ in 0..3 {
            driver.tell("threads 3 2 count 10000 keep 0")?;
            driver.tell("throw 2000")?;
            driver.tell("oom")?;
            drop(Daemon::start(&[])?);
            for _ in 0..3 {
                let answer = driver.answer()?;
                assert_eq!(answer["ok"], true, "{answer}");
            }
        }
        ensure!(driver.finish()?.success());
    }
    Ok(())
}

/// memmon is killed and cannot take its probes away.
#[test]
fn memmon_is_killed() -> Result<()> {
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    driver.ask("alloc a DRAM 65536 4096")?;
    let daemon = Daemon::start(&[])?;
    driver.tell("threads 3 2 count 10000 keep 0")?;
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(daemon.pid().cast_signed(), libc::SIGKILL) };
    assert_eq!(driver.answer()?["ok"], true);
    driver.ask("oom")?;
    ensure!(driver.finish()?.success());
    Ok(())
}

fn run_command(args: &[&str]) -> Result<Output> {
    Ok(command(["run"]).args(args).stdin(Stdio::null()).output()?)
}

#[test]
fn run_ends_as_its_command_does() -> Result<()> {
    for layout in BOTH {
        let fixture = Fixture::get(layout, Fault::None)?;
        let program = fixture.driver().display().to_string();
        for args in PROGRAMS {
            let plain = play(&fixture.driver(), args)?;
            let mut all = vec!["--", &program];
            all.extend(words(args));
            let output = run_command(&all)?;
            let code = match (plain.status.code(), plain.status.signal()) {
                (Some(code), _) => code,
                (None, signal) => 128 + signal.unwrap_or_default(),
            };
            assert_eq!(output.status.code(), Some(code), "{layout:?} {args}");
            assert_eq!(said(&output), said(&plain), "{layout:?} {args}");
        }
    }
    Ok(())
}

#[test]
fn run_exit_codes() -> Result<()> {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ] {
        let output = run_command(&["--", "sh", "-c", script])?;
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
    let output = run_command(&["--", "/nowhere/nothing"])?;
    assert_eq!(output.status.code(), Some(127));
    ensure!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/nothing"));
    let output = run_command(&["--", "/etc/passwd"])?;
    assert_eq!(output.status.code(), Some(126));
    // A command that is not there leaves no snapshot that says otherwise.
    assert_eq!(run_command(&[])?.status.code(), Some(2));
    Ok(())
}

/// The snapshot of `run` is whole, and of the command and its descendants alone.
#[test]
fn run_writes_its_snapshot() -> Result<()> {
    let directory = tempfile::tempdir()?;
    for layout in BOTH {
        let fixture = Fixture::get(layout, Fault::None)?;
        let mut other = fixture.spawn()?;
        other.ask("leak 3 4096")?;
        let file = directory.path().join(format!("{layout:?}.json"));
        let script = format!(
            // As a real program, it takes its time before its first device and after it.
            "{0} sleep 2000 , open chips 2 , leak 5 8192 , alloc a L1 8192 1024 , sleep 1000 , report , exit 0",
            fixture.driver().display()
        );
        let output = command(["run", "-o"])
            .arg(&file)
            .args(["--", "sh", "-c", &format!("({script}); exit 5")])
            .stdin(Stdio::null())
            .output()?;
        assert_eq!(output.status.code(), Some(5));
        let last = String::from_utf8_lossy(&output.stdout);
        let answer: Value = serde_json::from_str(last.lines().last().context("silence")?)?;
        let snapshot: Snapshot = serde_json::from_slice(&fs::read(&file)?)?;
        assert_eq!(snapshot.processes.len(), 1, "{snapshot:#?}");
        let process = &snapshot.processes[0];
        assert_eq!(Some(u64::from(process.pid)), answer["pid"].as_u64());
        ensure!(number(&answer, "truth", 1, "DRAM") > 0);
        holds(process, &answer)?;
        counts(process, &answer)?;
        assert_eq!(process.state, "exited");
        assert_eq!(process.since, "start");
        let summary = String::from_utf8_lossy(&output.stderr);
        ensure!(summary.contains("fixture"), "{summary}");
    }
    Ok(())
}

/// Output that could not be written changes nothing about the command's end.
#[test]
fn run_and_an_output_that_cannot_be_written() -> Result<()> {
    let output = run_command(&["-o", "/nowhere/file", "--", "sh", "-c", "exit 9"])?;
    assert_eq!(output.status.code(), Some(9));
    ensure!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/file"));
    Ok(())
}

/// Input, output, descriptors, credentials, masks: as if started by the caller.
#[test]
fn run_adds_nothing_to_its_command() -> Result<()> {
    let script = "cat; for f in /proc/self/fd/*; do echo ${f##*/}; done; \
        grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|SigBlk|SigIgn|SigCgt|Seccomp:)' /proc/self/status; \
        ulimit -a; env | grep -vE '^(_|SHLVL)=' | sort; pwd; umask; cat /proc/self/oom_score_adj; echo err >&2";
    let play = |mut command: Command| -> Result<(Output, ExitStatus)> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("stdin")?
            .write_all(b"one\ntwo\n")?;
        let output = child.wait_with_output()?;
        let status = output.status;
        Ok((output, status))
    };
    let mut plain = Command::new("sh");
    plain.args(["-c", script]);
    let mut run = command(["run", "--", "sh"]);
    run.args(["-c", script]);
    let (plain, _) = play(plain)?;
    let (run, status) = play(run)?;
    ensure!(status.success());
    let text = String::from_utf8_lossy(&plain.stdout);
    ensure!(
        text.starts_with("one\ntwo\n") && text.contains("CapEff"),
        "{text}"
    );
    assert_eq!(String::from_utf8_lossy(&run.stdout), text);
    ensure!(String::from_utf8_lossy(&run.stderr).starts_with("err\n"));
    Ok(())
}

#[test]
fn run_passes_signals_on() -> Result<()> {
    for (name, signal) in [
        ("TERM", libc::SIGTERM),
        ("INT", libc::SIGINT),
        ("HUP", libc::SIGHUP),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
    ] {
        let directory = tempfile::tempdir()?;
        let flag = directory.path().join("ready");
        let script = format!(
            "trap 'echo got {name}; exit 42' {name}; : > {}; while :; do sleep 0.05; done",
            flag.display()
        );
        let mut child = command(["run", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let until = Instant::now() + Duration::from_secs(30);
        while !flag.exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(child.id().cast_signed(), signal) };
        let mut status = None;
        while status.is_none() && Instant::now() < until {
            status = child.try_wait()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        if status.is_none() {
            let _ = child.kill();
        }
        let output = child.wait_with_output()?;
        assert_eq!(status.and_then(|status| status.code()), Some(42), "{name}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("got {name}\n")
        );
    }
    Ok(())
}

/// As under `nohup`: what the caller ignores is ignored by memmon and by the command.
#[test]
fn run_leaves_ignored_signals_ignored() -> Result<()> {
    let script = "trap '' HUP USR1; exec \"$0\" \"$@\"";
    let inner = "kill -HUP $PPID; kill -HUP $$; kill -USR1 $$; sleep 0.2; echo alive; exit 6";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(memmon_tests::memmon::binary())
        .args(["run", "--", "sh", "-c", inner])
        .stdin(Stdio::null())
        .output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n");
    assert_eq!(output.status.code(), Some(6));
    Ok(())
}
