//! `memmon-ebpf doctor`: what it says of this machine, and of one that lacks something.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::acquainted,
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{Daemon, binary, command, run},
    people::Open,
};
use serde_json::Value;
use tempfile::TempDir;

/// A socket that no daemon has.
struct NoDaemon(TempDir);

impl NoDaemon {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn socket(&self) -> String {
        self.0.path().join("socket").display().to_string()
    }

    fn doctor(&self, args: &[&str]) -> Result<(i32, Value)> {
        let socket = self.socket();
        let mut all = vec!["doctor", "--format", "json", "--socket", &socket];
        all.extend(args);
        report(&run(&all)?)
    }
}

/// The exit code and the report.
fn report(output: &Output) -> Result<(i32, Value)> {
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(errors.is_empty(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["schema"] == "memmon.doctor/1");
    Ok((output.status.code().context("an exit code")?, report))
}

fn named<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    let checks = report["checks"].as_array().into_iter().flatten();
    checks.filter(|check| check["check"] == name).collect()
}

/// The check of this name is in this state, and its finding and advice have these words in them.
fn says(report: &Value, name: &str, state: &str, words: &[&str]) -> Result<()> {
    let text = |check: &Value| format!("{} {}", check["finding"], check["advice"]);
    let found = named(report, name).into_iter().any(|check| {
        check["state"] == state && words.iter().all(|word| text(check).contains(word))
    });
    ensure!(found, "no {state} `{name}` with {words:?} in {report:#}");
    Ok(())
}

/// What a tool prints.
fn printed(tool: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(tool).args(args).output();
    let output = output.with_context(|| format!("{tool}: is it installed?"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn build_id(library: &Path) -> Result<String> {
    let notes = printed("readelf", &["-n", &library.display().to_string()])?;
    let line = notes.lines().find_map(|line| line.split_once("Build ID: "));
    Ok(line.context("a build id")?.1.trim().to_owned())
}

#[test]
fn a_machine_that_will_do() -> Result<()> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let mut driver = fixture.spawn()?;
    // More than others hold that run at the same time: those that hold most are named.
    driver.ask("alloc most DRAM 8589934592 2048")?;
    let (code, report) = NoDaemon::new()?.doctor(&[])?;
    ensure!(code == 0 && report["verdict"] == "able", "{report:#}");
    ensure!(report["user"] == printed("id", &["-un"])?.as_str());
    says(&report, "release", "ok", &[&printed("uname", &["-r"])?])?;
    for name in ["BPF", "tracepoints", "capabilities", "pid namespace"] {
        says(&report, name, "ok", &[])?;
    }
    // Programs were loaded, a probe was hit, and what it saw came back.
    says(&report, "BPF programs", "ok", &[])?;
    says(&report, "probe", "ok", &["8 of 8"])?;
    says(&report, "new libraries", "ok", &[])?;
    says(&report, "daemon", "ok", &["none"])?;
    let path = fixture.library();
    let (library, id) = (path.display().to_string(), build_id(&path)?);
    says(&report, "library", "ok", &[&library, &id, "decoded"])?;
    let pid = driver.pid().to_string();
    says(&report, "processes", "ok", &["fixture", &pid])?;
    says(&report, "device", "ok", &["tt-metal:0", "DRAM", "L1"])
}

#[test]
fn without_rights() -> Result<()> {
    let public = Open::program_alone()?;
    let nowhere = NoDaemon::new()?;
    let socket = nowhere.socket();
    let args = ["doctor", "--format", "json", "--socket", &socket];
    let (code, seen) = report(&public.without_rights(&args)?)?;
    ensure!(code == 3 && seen["verdict"] == "not_permitted");
    says(
        &seen,
        "capabilities",
        "not_permitted",
        &["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "root"],
    )?;
    // It does not say that all is well where it could not look.
    for name in ["BPF", "BPF programs", "uprobe links", "others' processes"] {
        says(&seen, name, "unchecked", &[])?;
    }
    // Root, but for one capability: that one is named, and no other.
    let without_one = public.by_setpriv(&["--bounding-set=-sys_ptrace"], &args)?;
    let (code, seen) = report(&without_one)?;
    ensure!(code == 3);
    says(&seen, "capabilities", "not_permitted", &["CAP_SYS_PTRACE"])?;
    ensure!(!seen.to_string().contains("CAP_BPF missing"), "{seen:#}");
    says(&seen, "BPF", "ok", &[])
}

/// Sets who may reach its socket.
fn open_to(daemon: &Daemon, mode: u32) -> Result<()> {
    let socket = daemon.socket();
    let directory = socket.parent().context("a directory")?;
    Ok(fs::set_permissions(
        directory,
        fs::Permissions::from_mode(mode),
    )?)
}

/// A user who may not observe, but may ask.
#[test]
fn with_a_daemon() -> Result<()> {
    let public = Open::program_alone()?;
    let driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let daemon = Daemon::start(&["-p", &driver.pid().to_string()])?;
    open_to(&daemon, 0o755)?;
    acquainted(&daemon, driver.pid())?;
    let socket = daemon.socket().display().to_string();
    let args = ["doctor", "--format", "json", "--socket", &socket];
    let (code, seen) = report(&public.without_rights(&args)?)?;
    ensure!(code == 0 && seen["verdict"] == "through_daemon", "{seen:#}");
    says(&seen, "daemon", "ok", &["of root", &socket])?;
    // What the daemon sees, this user could not.
    says(&seen, "processes", "ok", &[&driver.pid().to_string()])
}

#[test]
fn a_daemon_that_cannot_be_asked() -> Result<()> {
    let nowhere = NoDaemon::new()?;
    drop(UnixListener::bind(nowhere.socket())?);
    let (code, seen) = nowhere.doctor(&[])?;
    ensure!(code == 0);
    says(&seen, "daemon", "limited", &["nobody listens", "serve"])?;
    // One that is there, in a directory that this user may not enter.
    let daemon = Daemon::start(&[])?;
    open_to(&daemon, 0o700)?;
    let socket = daemon.socket().display().to_string();
    let args = ["doctor", "--format", "json", "--socket", &socket];
    let (code, seen) = report(&Open::program_alone()?.without_rights(&args)?)?;
    ensure!(code == 3, "{seen:#}");
    says(&seen, "daemon", "limited", &["may not ask"])
}

/// Each counts its own calls only.
#[test]
fn several_at_a_time() -> Result<()> {
    let nowhere = NoDaemon::new()?;
    let socket = nowhere.socket();
    let doctors: Vec<_> = (0..4)
        .map(|_| {
            command(["doctor", "--format", "json", "--socket", &socket])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        })
        .collect::<Result<_, _>>()?;
    for doctor in doctors {
        let (code, seen) = report(&doctor.wait_with_output()?)?;
        ensure!(code == 0, "{seen:#}");
        says(&seen, "probe", "ok", &["8 of 8"])?;
    }
    Ok(())
}

#[test]
fn an_older_kernel() -> Result<()> {
    let nowhere = NoDaemon::new()?;
    let (code, report) = nowhere.doctor(&["--assume-kernel", "5.4"])?;
    ensure!(code == 1 && report["verdict"] == "unable");
    says(&report, "release", "failed", &["5.4", "5.15"])?;
    says(&report, "BPF programs", "unchecked", &[])?;
    // Old enough to lack links of many: it works, by a link for each probe.
    let (code, report) = nowhere.doctor(&["--assume-kernel", "5.15"])?;
    ensure!(code == 0, "{report:#}");
    says(&report, "uprobe links", "limited", &["6.6"])?;
    says(&report, "probe", "ok", &["8 of 8"])
}

/// As in a container: pids of its own, and no tracefs.
#[test]
fn in_a_container() -> Result<()> {
    let nowhere = NoDaemon::new()?;
    let within = |unshare: &[&str], before: &str| -> Result<(i32, Value)> {
        let script = format!("{before} exec \"$0\" doctor --format json --socket \"$1\"");
        let output = Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", &script])
            .arg(binary())
            .arg(nowhere.socket())
            .output()?;
        report(&output)
    };
    let (code, seen) = within(&["--pid", "--fork", "--mount-proc"], "")?;
    ensure!(code == 1, "{seen:#}");
    says(&seen, "pid namespace", "failed", &["--pid=host"])?;
    let hidden = "mount -t tmpfs none /sys/kernel;";
    let (code, seen) = within(&["--mount"], hidden)?;
    ensure!(code == 1, "{seen:#}");
    says(&seen, "tracepoints", "failed", &["mount -t tracefs"])
}

#[test]
fn a_library_that_is_not_understood() -> Result<()> {
    for fault in [Fault::UnknownShape, Fault::NoSymbols] {
        let fixture = Fixture::get(Layout::Pimpl, fault)?;
        let driver: Driver = fixture.spawn()?;
        let (code, report) = NoDaemon::new()?.doctor(&[])?;
        let path = fixture.library().display().to_string();
        says(&report, "library", "limited", &[&path, "not understood: "])?;
        says(&report, "processes", "ok", &[&driver.pid().to_string()])?;
        // The machine is none the worse for it.
        ensure!(code == 0);
    }
    Ok(())
}

/// Signs that the terminal can show, and colours only where somebody sees them.
#[test]
fn as_text() -> Result<()> {
    let nowhere = NoDaemon::new()?;
    let socket = nowhere.socket();
    let plain = |locale: &str| -> Result<String> {
        let output = command(["doctor", "--socket", &socket])
            .env("LC_ALL", locale)
            .output()?;
        ensure!(output.status.success());
        Ok(String::from_utf8(output.stdout)?)
    };
    let text = plain("C.UTF-8")?;
    ensure!(
        text.contains("✓ release") && !text.contains('\x1b'),
        "{text}"
    );
    ensure!(text.ends_with("✓ memmon can do its job here\n"), "{text}");
    ensure!(plain("C")?.is_ascii(), "{}", plain("C")?);
    let on_a_terminal = |no_color: &str| {
        let line = format!("{} doctor --socket {socket}", binary().display());
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .envs([
                ("LC_ALL", "C.UTF-8"),
                ("NO_COLOR", no_color),
                ("TERM", "xterm"),
            ])
            .output()?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ensure!(on_a_terminal("")?.contains("\x1b[32m✓\x1b[0m"));
    let uncolored = on_a_terminal("1")?;
    ensure!(
        uncolored.contains('✓') && !uncolored.contains('\x1b'),
        "{uncolored}"
    );
    Ok(())
}
