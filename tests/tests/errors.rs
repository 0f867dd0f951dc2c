//! What cannot be done: one message that says what, why and what next, and the exit code of the
//! contract.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::Snapshot;
use memmon_tests::{
    check::{acquainted, holds, running, shown},
    fixture::{Fault, Fixture, Layout},
    memmon::{Daemon, binary, run},
    people::{NOBODY, Open},
};

/// It ended with this code and one message, which has these words in it; nothing on standard
/// output.
fn fails(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "{} instead of {code}: {text}",
        output.status
    );
    ensure!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    for word in words {
        ensure!(text.contains(word), "no `{word}` in: {text}");
    }
    ensure!(
        !text.contains("panicked") && !text.contains("RUST_BACKTRACE"),
        "{text}"
    );
    if code != 2 {
        // The one message, and its name once.
        ensure!(text.matches("memmon-ebpf: ").count() == 1, "{text}");
    }
    Ok(())
}

/// A pid that nobody has.
fn no_pid() -> Result<String> {
    let mut child = Command::new("true").spawn()?;
    child.wait()?;
    Ok(child.id().to_string())
}

#[test]
fn not_root() -> Result<()> {
    let public = Open::program_alone()?;
    let driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let pid = driver.pid().to_string();
    for (args, capability) in [
        (vec!["--refresh", "100"], "CAP_BPF"),
        (vec!["serve", "--socket", "/tmp/never.sock"], "CAP_BPF"),
        (vec!["run", "--", "true"], "CAP_BPF"),
        (vec!["-q"], "CAP_SYS_PTRACE"),
        (vec!["-q", "-p", &pid], "CAP_SYS_PTRACE"),
        (vec!["-p", &pid], "CAP_BPF"),
    ] {
        let output = public.without_rights(&args)?;
        fails(&output, 3, &[capability, "root"]).with_context(|| format!("{args:?}"))?;
    }
    // A pid that is not there is said before anything about permission.
    let gone = no_pid()?;
    for args in [vec!["-q", "-p", &gone], vec!["-p", &gone]] {
        fails(&public.without_rights(&args)?, 4, &[&gone]).with_context(|| format!("{args:?}"))?;
    }
    Ok(())
}

#[test]
fn nothing_to_observe() -> Result<()> {
    let gone = no_pid()?;
    let mut sleeper = Command::new("sleep").arg("60").spawn()?;
    let asleep = sleeper.id().to_string();
    let driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let pid = driver.pid().to_string();
    let cases: [(&[&str], &str); 7] = [
        (&["-q", "-p", &gone], &gone),
        (&["-p", &gone], &gone),
        (&["-q", "-p", &pid, "-p", &gone], &gone),
        (&["-q", "-p", &asleep], "no runtime"),
        (&["-q", "-p", &asleep, "--wait", "0.3"], "no runtime"),
        (&["-p", &asleep, "--wait", "0.3"], "no runtime"),
        (&["-q", "-d", "987654"], "987654"),
    ];
    let mut result = Ok(());
    for (args, word) in cases {
        result = result
            .and_then(|()| fails(&run(args)?, 4, &[word]).with_context(|| format!("{args:?}")));
    }
    sleeper.kill()?;
    sleeper.wait()?;
    result
}

/// `--wait` waits for the library, and no longer.
#[test]
fn waiting_for_a_runtime() -> Result<()> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let mut driver = fixture.spawn_unloaded()?;
    let pid = driver.pid().to_string();
    fails(&run(&["-q", "-p", &pid])?, 4, &["no runtime", "--wait"])?;
    let waiting = Command::new(binary())
        .args(["-q", "--format", "json", "-p", &pid, "--wait", "30"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    driver.ask(&format!("dlopen {}", fixture.library().display()))?;
    let output = waiting.wait_with_output()?;
    ensure!(output.status.success());
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout)?;
    ensure!(running(&snapshot, driver.pid()).is_some());
    Ok(())
}

#[test]
fn command_lines_that_make_no_sense() -> Result<()> {
    let cases: [(&[&str], &str); 10] = [
        (&["-d", "x"], "x"),
        (&["-q", "--devices", "0,x"], "x"),
        (&["-r", "50"], "100"),
        (&["-p", "0"], "0"),
        (&["-p", "x"], "x"),
        (&["--format", "yaml"], "yaml"),
        (&["--nonsense"], "nonsense"),
        (&["serve", "--history-bytes", "5000"], "power of two"),
        (&["--wait=-1"], "seconds"),
        (&["run"], "COMMAND"),
    ];
    for (args, word) in cases {
        fails(&run(args)?, 2, &[word]).with_context(|| format!("{args:?}"))?;
    }
    Ok(())
}

#[test]
fn work_that_cannot_be_done() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket").display().to_string();
    let driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let pid = driver.pid().to_string();
    let corrupt = directory.path().join("corrupt.toml");
    fs::write(
        &corrupt,
        "schema = 1\nname = \"mine\"\nfamily = \"mine\"\nlayer = 0\nlayer = =\n",
    )?;
    let wrong = directory.path().join("wrong.toml");
    fs::write(&wrong, "schema = 1\nname = \"mine\"\nsurprise = 4\n")?;
    let (corrupt, wrong) = (corrupt.display().to_string(), wrong.display().to_string());
    let cases: [(&[&str], &[&str]); 10] = [
        (
            &["-q", "-p", &pid, "-o", "/nowhere/file"],
            &["/nowhere/file"],
        ),
        (
            &["-q", "-p", &pid, "-o", "/proc/version"],
            &["/proc/version"],
        ),
        (&["--assume-kernel", "5.4"], &["5.4", "5.15"]),
        (
            &[
                "serve",
                "--socket",
                &socket,
                "--assume-kernel",
                "5.4.0-generic",
            ],
            &["5.4", "5.15"],
        ),
        (&["-q", "--profile", &corrupt], &["corrupt.toml", "5"]),
        (
            &["serve", "--profile", &wrong],
            &["wrong.toml", "3", "surprise"],
        ),
        (
            &["-q", "--profile", "/nowhere/p.toml"],
            &["/nowhere/p.toml"],
        ),
        (&["-q", "--runtime", "nonsense"], &["nonsense", "tt-metal"]),
        (&["-q", "--socket", &socket], &[&socket, "serve"]),
        (&["--socket", &socket, "--wait", "0.2"], &[&socket, "serve"]),
    ];
    for (args, words) in cases {
        fails(&run(args)?, 1, words).with_context(|| format!("{args:?}"))?;
    }
    ensure!(!Path::new(&socket).exists());
    Ok(())
}

#[test]
fn one_daemon_a_socket() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let socket = daemon.socket().display().to_string();
    fails(
        &run(&["serve", "--socket", &socket])?,
        1,
        &[&socket, "already"],
    )?;
    // The first is none the worse.
    daemon.snapshot()?;
    // What is no socket is not touched.
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("precious");
    fs::write(&file, "data")?;
    let path = file.display().to_string();
    fails(
        &run(&["serve", "--socket", &path])?,
        1,
        &[&path, "no socket"],
    )?;
    assert_eq!(fs::read_to_string(&file)?, "data");
    fails(
        &run(&["serve", "--socket", "/nowhere/socket"])?,
        1,
        &["/nowhere;", "--socket"],
    )
}

#[test]
fn a_stale_socket_is_taken_over() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path: PathBuf = directory.path().join("socket");
    // What a daemon leaves that was killed: nobody listens on it.
    drop(UnixListener::bind(&path)?);
    ensure!(fs::symlink_metadata(&path)?.file_type().is_socket());
    let text = path.display().to_string();
    fails(&run(&["-q", "--socket", &text])?, 1, &[&text, "serve"])?;
    let mut daemon = Command::new(binary())
        .args(["serve", "--socket", &text])
        .stdin(Stdio::null())
        .spawn()?;
    let output = run(&["-q", "--socket", &text, "--wait", "30", "--format", "json"])?;
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(daemon.id().cast_signed(), libc::SIGTERM) };
    let status = daemon.wait()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(status.code(), Some(0));
    // It leaves nothing behind.
    ensure!(!path.exists());
    Ok(())
}

/// Asking a daemon needs no rights; but the command lines of others are not shown.
#[test]
fn a_client_without_rights() -> Result<()> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let public = Open::new(&fixture)?;
    let mut mine = fixture.spawn()?;
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(public.driver().get_program());
    let mut theirs = memmon_tests::fixture::Driver::spawn(command)?;
    theirs.ask("report")?;
    let daemon = Daemon::start(&[])?;
    fs::set_permissions(
        daemon.socket().parent().context("a directory")?,
        fs::Permissions::from_mode(0o755),
    )?;
    acquainted(&daemon, mine.pid())?;
    acquainted(&daemon, theirs.pid())?;
    let answer = mine.ask("leak 3 4096")?;
    let other = theirs.ask("leak 5 4096")?;
    let socket = daemon.socket().display().to_string();
    let output = public.without_rights(&["-q", "--format", "json", "--socket", &socket])?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout)?;
    let process = shown(&snapshot, mine.pid())?;
    holds(process, &answer)?;
    ensure!(process.command.is_empty(), "{:?}", process.command);
    let process = shown(&snapshot, theirs.pid())?;
    holds(process, &other)?;
    assert_eq!(
        process.command,
        [public.path().join("fixture").display().to_string()]
    );
    assert_eq!(process.uid, Some(NOBODY));
    // Root sees them all.
    let snapshot = daemon.snapshot()?;
    ensure!(!shown(&snapshot, mine.pid())?.command.is_empty());
    ensure!(!shown(&snapshot, theirs.pid())?.command.is_empty());
    Ok(())
}
