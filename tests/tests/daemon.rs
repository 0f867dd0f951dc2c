//! The daemon and its clients: who may ask, what they see, and what becomes of everybody when one of
//! them misbehaves or goes away.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::Snapshot;
use memmon_tests::{
    check::{acquainted, holds, running},
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{Daemon, Ward, command, process, run},
    people::{NOBODY, Open, as_nobody, open_directory},
};

fn open() -> Result<Open> {
    Open::new(&Fixture::get(Layout::Pimpl, Fault::None)?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn snapshot(output: &Output) -> Result<Snapshot> {
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn path(socket: &Path) -> Result<&str> {
    socket.to_str().context("a plain path")
}

/// The permissions a socket has from its first moment on, and its group.
fn first_sight(directory: &Path) -> Result<(u32, u32)> {
    let socket = directory.join("socket");
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if let Ok(meta) = fs::symlink_metadata(&socket) {
            return Ok((meta.mode() & 0o7777, meta.gid()));
        }
    }
    anyhow::bail!("there is no socket")
}

#[test]
fn mode_and_group_decide_who_may_ask() -> Result<()> {
    let open = open()?;
    let daemon_group = 1;
    for (args, mode, group) in [
        (&["--socket-group", "daemon"][..], 0o660, daemon_group),
        (&["--socket-mode", "0600"], 0o600, 0),
        (&[], 0o666, 0),
    ] {
        let directory = open_directory()?;
        let place = directory.path().to_owned();
        let seen = thread::spawn(move || first_sight(&place));
        let daemon = Daemon::start_in(directory, |_| {}, args)?;
        let seen = seen.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
        assert_eq!(seen, (mode, group), "{args:?}");
        let socket = daemon.socket();
        let ask = ["-q", "--socket", path(&socket)?];
        let refused = open.memmon(&ask).output()?;
        if mode == 0o666 {
            ensure!(refused.status.success(), "{refused:?}");
            continue;
        }
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        let why = if group == daemon_group {
            "the group daemon"
        } else {
            "its owner only"
        };
        ensure!(text(&refused.stderr).contains(why), "{refused:?}");
        let member = Command::new("setpriv")
            .args(["--reuid=nobody", "--regid=nogroup", "--groups=daemon"])
            .arg(open.program())
            .args(ask)
            .output()?;
        assert_eq!(member.status.success(), group == daemon_group, "{member:?}");
    }
    Ok(())
}

/// Two programs, root's and nobody's, and two users who look at them.
#[test]
fn everybody_sees_the_numbers_and_their_own_commands() -> Result<()> {
    let open = open()?;
    let mut drivers = Vec::new();
    for nobodys in [false, true] {
        let mut command = open.driver();
        command.arg0("--token=secret");
        if nobodys {
            as_nobody(&mut command);
        }
        drivers.push(Driver::spawn(command)?);
    }
    for (args, others) in [(&[][..], false), (&["--show-commands", "all"], true)] {
        let daemon = Daemon::start_in(open_directory()?, |_| {}, args)?;
        let mut answers = Vec::new();
        for driver in &mut drivers {
            acquainted(&daemon, driver.pid())?;
            answers.push(driver.ask("leak 1 2097152")?);
        }
        let socket = daemon.socket();
        let ask = ["-q", "--format", "json", "--socket", path(&socket)?];
        let root = snapshot(&run(&ask)?)?;
        let nobody = snapshot(&open.memmon(&ask).output()?)?;
        for (seen, who) in [(&root, 0), (&nobody, NOBODY)] {
            for (driver, answer) in drivers.iter().zip(&answers) {
                let process = running(seen, driver.pid()).context("the process")?;
                holds(process, answer)?;
                let shown = who == 0 || process.uid == Some(who) || others;
                let secret = process.command.iter().any(|word| word.contains("secret"));
                assert_eq!(secret, shown, "{args:?}, to {who}: {process:?}");
            }
        }
    }
    Ok(())
}

/// The four that need no root, on the socket that is asked when none is named: in a `/run` of one's own.
#[test]
fn the_usual_commands_without_root() -> Result<()> {
    let open = open()?;
    let mut driver = Driver::spawn(open.driver())?;
    driver.ask("open chips 3")?;
    let answer = driver.ask("leak 2 2097152")?;
    let daemon = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o mode=755 none /run && exec \"$0\" serve")
        .arg(open.program())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut daemon = Ward(daemon);
    let mut said = lines(daemon.0.stderr.take());
    wait_for_line(&mut said, "listening on /run/memmon-ebpf.sock (mode 0666)")?;
    let pid = daemon.0.id().to_string();
    let client = |args: &[&str]| {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--target", &pid, "setpriv"])
            .args([
                "--reuid=nobody",
                "--regid=nogroup",
                "--clear-groups",
                "timeout",
                "2",
            ])
            .arg(open.program())
            .args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    };
    let once = client(&["-q", "--format", "json"])?.wait_with_output()?;
    let once = snapshot(&once)?;
    holds(
        running(&once, driver.pid()).context("the process")?,
        &answer,
    )?;
    let mut watching = Vec::new();
    for args in [&[][..], &["-a"], &["-d", "0,1,2"], &["-r", "100"]] {
        watching.push((args, client(args)?));
    }
    for (args, child) in watching {
        let output = child.wait_with_output()?;
        // It watched until it was told to end.
        ensure!(
            output.status.code() == Some(124) || output.status.success(),
            "{output:?}"
        );
        let tables = text(&output.stdout).matches("health:").count();
        let expected = if args == ["-r", "100"] { 6..=22 } else { 1..=3 };
        ensure!(expected.contains(&tables), "{args:?}: {tables} tables");
        let row = format!("{}  root  tt-metal:2  DRAM", driver.pid());
        ensure!(text(&output.stdout).contains(&row), "{output:?}");
    }
    ensure!(daemon.end()?.success());
    Ok(())
}

#[test]
fn what_a_killed_daemon_leaves_is_no_hindrance() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let directory = daemon.kill()?;
    let socket = directory.path().join("socket");
    ensure!(socket.exists(), "it was killed, so it is still there");
    let gone = run(&["-q", "--socket", path(&socket)?])?;
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    ensure!(text(&gone.stderr).contains("no daemon answers"), "{gone:?}");
    let daemon = Daemon::start_in(directory, |_| {}, &[])?;
    daemon.snapshot()?;
    let directory = daemon.terminate()?;
    assert_eq!(
        fs::read_dir(directory.path())?.count(),
        0,
        "nothing is left"
    );
    Ok(())
}

#[test]
fn a_second_daemon_is_refused() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let socket = daemon.socket();
    let second = run(&["serve", "--socket", path(&socket)?])?;
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    ensure!(said.contains("a daemon is listening on"), "{said}");
    daemon.snapshot()?;
    // However close they are: of five that start at once one serves.
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    let mut all = Vec::new();
    for _ in 0..5 {
        let mut command = command(["serve", "--socket", path(&socket)?]);
        all.push(Ward(command.stderr(Stdio::null()).spawn()?));
    }
    let until = Instant::now() + Duration::from_secs(20);
    let mut refused = Vec::new();
    while refused.len() < 4 && Instant::now() < until {
        for child in &mut all {
            refused.extend(child.0.try_wait()?);
        }
        all.retain_mut(|child| matches!(child.0.try_wait(), Ok(None)));
        thread::sleep(Duration::from_millis(10));
    }
    ensure!(refused.iter().all(|s| s.code() == Some(1)), "{refused:?}");
    assert_eq!(all.len(), 1, "those that serve");
    let output = run(&["-q", "--socket", path(&socket)?, "--wait", "10"])?;
    for child in all {
        ensure!(child.end()?.success());
    }
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// They fail before anything is attached, each in its own words.
#[test]
fn places_where_no_daemon_can_listen() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    fs::write(&file, "")?;
    let missing = directory.path().join("missing/socket");
    let long = directory.path().join("x".repeat(120));
    let read_only = Path::new("/proc/socket");
    for (socket, words) in [
        (missing.as_path(), "there is no directory"),
        (&long, "longer than"),
        (&file, "is no socket"),
        (read_only, "cannot listen on"),
    ] {
        let output = run(&["serve", "--socket", path(socket)?])?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        ensure!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
    let output = run(&["serve", "--socket-group", "no-such-group"])?;
    ensure!(text(&output.stderr).contains("groupadd"), "{output:?}");
    let output = run(&["serve", "--socket-mode", "0888"])?;
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}

/// A client's stream goes on with the next daemon's numbers, and says so.
#[test]
fn a_watching_client_outlives_daemons() -> Result<()> {
    let mut driver = Fixture::get(Layout::Inline, Fault::None)?.spawn()?;
    let mut daemon = Daemon::start(&[])?;
    let socket = daemon.socket();
    let client = command(["--format", "json", "-r", "100", "--socket", path(&socket)?])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut client = Ward(client);
    let stream = lines(client.0.stdout.take());
    let mut said = lines(client.0.stderr.take());
    let next = |wanted: &mut dyn FnMut(&Snapshot) -> bool| -> Result<Snapshot> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            let line = stream.recv_timeout(Duration::from_secs(10))?;
            let snapshot: Snapshot = serde_json::from_str(&line)?;
            if wanted(&snapshot) {
                return Ok(snapshot);
            }
        }
        anyhow::bail!("no such snapshot came")
    };
    let mut started = next(&mut |_| true)?.observer.started_at;
    for killed in [true, false] {
        let directory = if killed {
            daemon.kill()?
        } else {
            daemon.terminate()?
        };
        wait_for_line(&mut said, "the daemon went away")?;
        let answer = driver.ask("leak 1 2097152")?;
        daemon = Daemon::start_in(directory, |_| {}, &[])?;
        wait_for_line(&mut said, "a daemon is there again")?;
        let snapshot = next(&mut |snapshot| snapshot.observer.started_at != started)?;
        let seen = process(&snapshot, driver.pid()).context("the process")?;
        holds(seen, &answer)?;
        started = snapshot.observer.started_at;
    }
    ensure!(client.end()?.success());
    Ok(())
}

fn lines(source: Option<impl std::io::Read + Send + 'static>) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in source.into_iter().flat_map(|s| BufReader::new(s).lines()) {
            if line.ok().and_then(|line| send.send(line).ok()).is_none() {
                return;
            }
        }
    });
    lines
}

fn wait_for_line(lines: &mut Receiver<String>, words: &str) -> Result<()> {
    let line = lines
        .recv_timeout(Duration::from_secs(20))
        .with_context(|| format!("nobody said `{words}`"))?;
    ensure!(line.contains(words), "`{words}` was to be said, not {line}");
    Ok(())
}
