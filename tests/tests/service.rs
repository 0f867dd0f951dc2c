//! The daemon as a service: what it tells its manager, and whether it can live with what the unit in
//! `deploy/systemd` leaves it.

use std::{
    collections::BTreeSet,
    fs,
    io::Error,
    os::unix::{net::UnixDatagram, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{acquainted, agrees},
    filter,
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{self, Daemon},
    people::{Open, as_nobody, open_directory},
};

const PROGRAM: &str = "/usr/local/bin/memmon-ebpf";

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file)
}

/// The value of a setting of the unit.
fn setting(name: &str) -> Result<String> {
    let unit = fs::read_to_string(deploy("systemd/memmon-ebpf.service"))?;
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(line.with_context(|| format!("no {name}"))?.to_owned())
}

struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// What it is told next, as `NAME=value` lines.
    fn told(&self) -> Result<Vec<String>> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).context("nothing was said")?;
        let text = std::str::from_utf8(&buffer[..length])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn wait_for(&self, line: &str) -> Result<Vec<String>> {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            let told = self.told()?;
            if told.iter().any(|told| told == line) {
                return Ok(told);
            }
        }
        anyhow::bail!("{line} was not said")
    }
}

#[test]
fn the_manager_is_told() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let address = directory.path().join("notify");
    let manager = Manager {
        socket: UnixDatagram::bind(&address)?,
    };
    manager
        .socket
        .set_read_timeout(Some(Duration::from_secs(10)))?;
    let daemon = Daemon::start_in(
        tempfile::tempdir()?,
        |command| {
            command.env("NOTIFY_SOCKET", &address);
            command.env("WATCHDOG_USEC", "400000");
        },
        &["-p", "1"],
    )?;
    let first = manager.told()?;
    ensure!(first.contains(&"READY=1".to_owned()), "{first:?}");
    ensure!(first.iter().any(|l| l.starts_with("STATUS=listening on")));
    // It was ready when it said so.
    daemon.snapshot()?;
    let start = Instant::now();
    for _ in 0..5 {
        manager.wait_for("WATCHDOG=1")?;
    }
    let took = start.elapsed();
    ensure!(took < Duration::from_millis(5 * 400), "5 in {took:?}");
    daemon.terminate()?;
    manager.wait_for("STOPPING=1")?;
    Ok(())
}

/// systemd's own judgement of the unit, with this program in the place of the installed one.
#[test]
fn the_unit_is_sound() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let unit = fs::read_to_string(deploy("systemd/memmon-ebpf.service"))?;
    ensure!(unit.contains(PROGRAM));
    let program = memmon::binary().canonicalize()?;
    let unit = unit.replace(PROGRAM, &program.display().to_string());
    let path = directory.path().join("memmon-ebpf.service");
    fs::write(&path, unit)?;
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .context("systemd-analyze (Debian: systemd)")?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    // The command line that it starts is one that the program takes.
    let command = setting("ExecStart")?;
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let mut help = words.clone();
    help.push("--help");
    ensure!(memmon::run(&help)?.status.success(), "{words:?}");
    let snippet = fs::read_to_string(deploy("sysusers.d/memmon-ebpf.conf"))?;
    let group = words.last().context("a group")?;
    ensure!(snippet.contains(&format!("g {group} ")), "{snippet}");
    Ok(())
}

/// Under the unit's filter of system calls it does all of its work. Where a filter keeps it from giving up
/// rights, it says so and does not run with them.
#[test]
fn the_units_system_calls_suffice() -> Result<()> {
    let unit = fs::read_to_string(deploy("systemd/memmon-ebpf.service"))?;
    let mut allowed = filter::allowed(&unit)?;
    let filtered = |allowed: &BTreeSet<String>| -> Result<_> {
        let program = filter::program(allowed)?;
        let prepare = move |command: &mut Command| {
            // SAFETY: makes system calls only; what it reads was made before.
            unsafe {
                command.pre_exec(move || {
                    seccompiler::apply_filter(&program).map_err(|_| Error::last_os_error())
                });
            }
        };
        Ok(prepare)
    };
    let spawn = || Fixture::get(Layout::Inline, Fault::None)?.spawn();
    let mut early = spawn()?;
    early.ask("leak 3 2097152")?;
    let daemon = Daemon::start_in(
        open_directory()?,
        filtered(&allowed)?,
        &["--socket-group", "daemon", "--metrics", "0"],
    )?;
    let mut late = spawn()?;
    for driver in [&mut early, &mut late] {
        acquainted(&daemon, driver.pid())?;
        let answer = driver.ask("alloc a DRAM 2097152 2048")?;
        agrees(&daemon, &answer)?;
    }
    daemon.terminate()?;
    ensure!(allowed.remove("capset"));
    let directory = open_directory()?;
    let mut command = memmon::command(["serve", "-p", "1", "--socket"]);
    command.arg(directory.path().join("socket"));
    filtered(&allowed)?(&mut command);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    ensure!(
        said.contains("must allow capget, capset and prctl"),
        "{said}"
    );
    Ok(())
}

/// With the capabilities of the unit and no others it observes what nobody runs, early and late.
#[test]
fn the_units_capabilities_suffice() -> Result<()> {
    let open = Open::new(&Fixture::get(Layout::Inline, Fault::None)?)?;
    let spawn = || {
        let mut command = open.driver();
        as_nobody(&mut command);
        Driver::spawn(command)
    };
    let mut early = spawn()?;
    early.ask("leak 3 2097152")?;
    let capabilities = setting("CapabilityBoundingSet")?
        .split_whitespace()
        .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect::<Vec<_>>()
        .join(",");
    ensure!(capabilities.contains("+bpf"), "{capabilities}");
    let daemon = Daemon::start_by(
        open_directory()?,
        Command::new("setpriv")
            .args(["--bounding-set", &format!("-all,{capabilities}")])
            .args(["--inh-caps=-all", "--no-new-privs"]),
        // To a group, as in the unit: that is what CHOWN is for.
        &["--socket-group", "daemon"],
    )?;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = u64::from_str_radix(bounding.context("CapBnd")?.trim(), 16)?;
    assert_eq!(bits.count_ones(), 6, "others were dropped: {bits:x}");
    let mut late = spawn()?;
    for driver in [&mut early, &mut late] {
        acquainted(&daemon, driver.pid())?;
        let answer = driver.ask("alloc a DRAM 2097152 2048")?;
        agrees(&daemon, &answer)?;
    }
    Ok(())
}
