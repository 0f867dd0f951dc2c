//! What memmon and its BPF programs say about themselves: at the level asked for, on standard
//! error, and not into a view.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use memmon_tests::{
    fixture::{Fault, Fixture, Layout},
    memmon::{binary, command, run},
};

/// What the BPF programs say when more allocations live than fit.
const FULL: &str = "more live allocations than --live-entries";

/// Standard error of a daemon whose table of live allocations runs over in a process, and the pid
/// of that.
fn overrun(args: &[&str], variable: Option<&str>) -> Result<(String, u32)> {
    let directory = tempfile::tempdir()?;
    let (socket, errors) = (
        directory.path().join("socket"),
        directory.path().join("errors"),
    );
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let pid = driver.pid();
    let mut serve = command(["serve", "--live-entries", "16", "--socket"]);
    serve.arg(&socket).args(["-p", &pid.to_string()]).args(args);
    if let Some(level) = variable {
        serve.env("MEMMON_LOG", level);
    }
    let mut daemon = serve
        .stdin(Stdio::null())
        .stderr(File::create(&errors)?)
        .spawn()?;
    let until = Instant::now() + Duration::from_secs(30);
    while !socket.exists() {
        ensure!(Instant::now() < until, "the daemon did not get ready");
        thread::sleep(Duration::from_millis(5));
    }
    driver.ask("leak 200 4096")?;
    // What happened before a snapshot is in it, and what was said before has been forwarded soon.
    run(&["-q", "--socket", &socket.display().to_string()])?;
    thread::sleep(Duration::from_millis(300));
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(daemon.id().cast_signed(), libc::SIGTERM) };
    daemon.wait()?;
    Ok((fs::read_to_string(errors)?, pid))
}

#[test]
fn a_table_that_is_full() -> Result<()> {
    let (text, pid) = overrun(&[], None)?;
    let said: Vec<&str> = text.lines().filter(|line| line.contains(FULL)).collect();
    ensure!(!said.is_empty(), "nothing was said: {text}");
    for line in &said {
        ensure!(
            line.contains("WARN") && line.contains(&format!("pid {pid}:")),
            "{line}"
        );
    }
    // 184 times on one CPU or some: the first, the second, the fourth, …
    ensure!(said[0].contains("(1 on this CPU)"), "{text}");
    let cpus = thread::available_parallelism()?.get();
    ensure!(said.len() <= 8 * cpus, "{} lines: {text}", said.len());
    Ok(())
}

#[test]
fn levels() -> Result<()> {
    for (args, variable) in [(&["--log", "error"][..], None), (&[], Some("off"))] {
        let (text, _) = overrun(args, variable)?;
        // Where it listens is no message of the log.
        let text: String = text
            .lines()
            .filter(|line| !line.contains("listening on"))
            .collect();
        ensure!(text.is_empty(), "{args:?} {variable:?}: {text}");
    }
    // The option comes before the environment.
    let (text, _) = overrun(&["--log", "info"], Some("off"))?;
    ensure!(text.contains(FULL), "{text}");
    ensure!(
        text.contains("INFO") && text.contains("libtt_metal.so"),
        "{text}"
    );
    let output = run(&["-q", "--log", "loud"])?;
    ensure!(output.status.code() == Some(2));
    Ok(())
}

/// The live view has the screen: what was said meanwhile stands below it afterwards.
#[test]
fn not_into_the_live_view() -> Result<()> {
    const UP: &str = "\u{1b}[?1049h";
    const DOWN: &str = "\u{1b}[?1049l";
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let pid = driver.pid().to_string();
    let line = format!(
        "{} --live-entries 16 --refresh 100 --pid {pid}",
        binary().display()
    );
    let mut view = Command::new("script")
        .args(["--quiet", "--command", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("script: is it installed?")?;
    let (mut keys, mut screen) = (
        view.stdin.take().context("keys")?,
        view.stdout.take().context("a screen")?,
    );
    let shown = Arc::new(Mutex::new(Vec::new()));
    let reader = {
        let shown = shown.clone();
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut part) {
                if let Ok(mut shown) = shown.lock() {
                    shown.extend_from_slice(&part[..count]);
                }
            }
        })
    };
    let text = || {
        shown
            .lock()
            .map(|shown| String::from_utf8_lossy(&shown).into_owned())
            .unwrap_or_default()
    };
    let until = Instant::now() + Duration::from_secs(20);
    while !text()
        .split_once(UP)
        .is_some_and(|(_, view)| view.contains(&pid))
    {
        if Instant::now() > until {
            bail!("the view does not come up: {:?}", text());
        }
        thread::sleep(Duration::from_millis(20));
    }
    driver.ask("leak 200 4096")?;
    thread::sleep(Duration::from_millis(300));
    keys.write_all(b"q")?;
    let ended = view.wait()?;
    let _ = reader.join();
    let text = text();
    ensure!(ended.success(), "{ended}");
    let (view, after) = text
        .split_once(DOWN)
        .context("it does not leave the screen")?;
    ensure!(after.contains("WARN") && after.contains(FULL), "{after:?}");
    ensure!(!view.contains("WARN"), "{view:?}");
    Ok(())
}
