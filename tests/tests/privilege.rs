//! Least privilege: what each thread keeps, that the rest is gone, and that the work is done with what is
//! documented (docs/privileges.md).

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::Snapshot;
use memmon_tests::{
    check::{acquainted, agrees, holds, running},
    fixture::{Driver, Fault, Fixture, Layout},
    lab::{self, Workload},
    memmon::{Daemon, Ward, charged, command, process},
    people::{NOBODY, Open, as_nobody, open_directory},
    prometheus::free_port,
    recorder::Recorder,
    rights::{OBSERVING, Opened, Thread, have_no_more_than, nobody_with, threads},
    screen::Screen,
};
use serde_json::Value;

fn open() -> Result<Open> {
    Open::new(&Fixture::get(Layout::Pimpl, Fault::None)?)
}

/// A driver of another user than root and nobody.
fn somebodys(open: &Open) -> Result<Driver> {
    use std::os::unix::process::CommandExt as _;
    let mut command = open.driver();
    command.uid(1).gid(1).current_dir("/");
    Driver::spawn(command)
}

#[test]
fn a_daemons_threads_have_what_they_need() -> Result<()> {
    let (metrics, tracy) = (free_port()?, free_port()?);
    let daemon = Daemon::start(&[
        "-p",
        "1",
        "--metrics",
        &metrics.to_string(),
        "--tracy-listen",
        &format!("127.0.0.1:{tracy}"),
    ])?;
    // Threads that are started later, too.
    daemon.snapshot()?;
    let threads = have_no_more_than(daemon.pid(), &[])?;
    for name in ["observer", "inspector", "launcher", "tokio-rt-worker"] {
        ensure!(threads.iter().any(|t| t.name == name), "{threads:?}");
    }
    Ok(())
}

#[test]
fn so_have_those_who_watch() -> Result<()> {
    let driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let pid = driver.pid().to_string();
    let screen = Screen::start(command(["-p", &pid]), (100, 30))?;
    screen.until_shown(&pid)?;
    let threads = have_no_more_than(screen.pid(), &[])?;
    for name in ["observer", "tui-input", "tui-output"] {
        ensure!(threads.iter().any(|t| t.name == name), "{threads:?}");
    }
    let file = open_directory()?;
    let stream = command(["-r", "100", "-o"])
        .arg(file.path().join("stream"))
        .spawn()?;
    let stream = Ward(stream);
    have_no_more_than(stream.0.id(), &[])?;
    // A client of a daemon has nothing to keep.
    let daemon = Daemon::start(&["-p", "1"])?;
    let client = command(["-r", "100", "--socket"])
        .arg(daemon.socket())
        .stdout(Stdio::null())
        .spawn()?;
    let client = Ward(client);
    let threads = have_no_more_than(client.0.id(), &[])?;
    ensure!(threads.iter().all(|t| t.name != "observer"));
    Ok(())
}

#[test]
fn so_have_record_and_run() -> Result<()> {
    let recorder = Recorder::start(&["-p", "1"])?;
    have_no_more_than(recorder.child.id(), &[])?;
    let directory = open_directory()?;
    for (verb, file) in [("run", "snapshot"), ("record", "recording")] {
        let child = command([verb, "-o"])
            .arg(directory.path().join(file))
            .args(["--", "sleep", "100"])
            .spawn()?;
        let child = Ward(child);
        // The command may become another user's.
        have_no_more_than(child.0.id(), &["KILL"])?;
        assert_eq!(child.end()?.code(), Some(143));
    }
    Ok(())
}

/// What the folder of another user takes is kept by the one thread that writes there, and only then.
#[test]
fn root_writes_to_others_folders_as_before() -> Result<()> {
    let outer = open_directory()?;
    let folder = outer.path().join("nobodys");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    chown(&folder, Some(NOBODY), Some(NOBODY))?;
    let file = folder.join("snapshot.json");
    let child = command(["run", "-o"])
        .arg(&file)
        .args(["--", "sleep", "100"])
        .spawn()?;
    let child = Ward(child);
    let kept = ["KILL", "DAC_OVERRIDE", "FOWNER", "CHOWN"];
    have_no_more_than(child.0.id(), &kept)?;
    child.end()?;
    ensure!(file.exists());
    let once = command(["-q", "--format", "json", "-o"])
        .arg(&file)
        .output()?;
    ensure!(once.status.success(), "{once:?}");
    serde_json::from_slice::<Snapshot>(&fs::read(&file)?)?;
    // A socket that is removed at the end.
    let socket = folder.join("socket");
    let daemon = command(["serve", "-p", "1", "--socket"])
        .arg(&socket)
        .spawn()?;
    let daemon = Ward(daemon);
    until("its socket", || socket.exists())?;
    have_no_more_than(daemon.0.id(), &kept[1..])?;
    ensure!(daemon.end()?.success());
    ensure!(!socket.exists());
    Ok(())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        ensure!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Libraries in a folder that only its owner may enter, and deleted ones, all met after the rights were
/// given up.
#[test]
fn libraries_that_come_later_are_attached() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    have_no_more_than(daemon.pid(), &[])?;
    let open = open()?;
    let home = open.path().join("home");
    fs::create_dir(&home)?;
    let mut drivers = Vec::new();
    for deleted in [false, true] {
        let library = home.join("libtt_metal.so");
        fs::copy(
            Fixture::get(Layout::Pimpl, Fault::None)?.library(),
            &library,
        )?;
        chown(&library, Some(NOBODY), Some(NOBODY))?;
        fs::set_permissions(&library, fs::Permissions::from_mode(0o600))?;
        chown(&home, Some(NOBODY), Some(NOBODY))?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        let mut command = Command::new(open.path().join("fixture-dlopen"));
        if !open.path().join("fixture-dlopen").exists() {
            let unloaded = Fixture::get(Layout::Pimpl, Fault::None)?.dlopen_driver();
            fs::copy(unloaded, open.path().join("fixture-dlopen"))?;
        }
        as_nobody(&mut command);
        let mut driver = Driver::spawn(command)?;
        if deleted {
            halt(daemon.pid())?;
        }
        let answer = driver.ask(&format!("dlopen {}", library.display()));
        if deleted {
            fs::remove_file(&library)?;
            signal(daemon.pid(), libc::SIGCONT);
        }
        answer?;
        acquainted(&daemon, driver.pid())?;
        let answer = driver.ask("alloc a DRAM 2097152 2048")?;
        let snapshot = agrees(&daemon, &answer)?;
        let seen = process(&snapshot, driver.pid()).context("the process")?;
        ensure!(seen.since != "attach", "{seen:?}");
        drivers.push(driver);
    }
    // They still have no more than they had.
    have_no_more_than(daemon.pid(), &[]).map(drop)
}

/// Returns when none of its threads runs any more.
fn halt(pid: u32) -> Result<()> {
    signal(pid, libc::SIGSTOP);
    until("its stop", || {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return false;
        };
        tasks.flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    })
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// With the documented rights and no others: an ordinary user sees what another user's process holds.
#[test]
fn the_documented_rights_suffice() -> Result<()> {
    let open = open()?;
    let mut driver = somebodys(&open)?;
    let answer = driver.ask("leak 3 2097152")?;
    let pid = driver.pid().to_string();
    let directory = nobodys_directory()?;
    let nobody = |args: &[&str]| -> Result<Output> {
        let mut command = nobody_with(&OBSERVING);
        command.arg(open.program()).args(args).stdin(Stdio::null());
        Ok(command.output()?)
    };
    let doctor = nobody(&["doctor", "--socket", "/nowhere"])?;
    ensure!(doctor.status.success(), "{doctor:?}");
    let once = nobody(&["-q", "-p", &pid, "--format", "json"])?;
    told(&once, &driver, &answer)?;
    let daemon = nobodys_daemon(&open, &OBSERVING)?;
    acquainted(&daemon, driver.pid())?;
    let answer = driver.ask("alloc a DRAM 2097152 2048")?;
    let snapshot = agrees(&daemon, &answer)?;
    assert_eq!(shown_since(&snapshot, &driver), "recovered");
    // It cannot empty its bounding set, which takes a right of its own; without new privileges it means
    // nothing.
    let given_up = |threads: Vec<Thread>| threads.iter().all(|t| t.no_new_privileges);
    until("rights to be given up", || {
        threads(daemon.pid()).is_ok_and(given_up)
    })?;
    for thread in threads(daemon.pid())? {
        ensure!(thread.no_new_privileges, "{thread:?}");
        let wanted = match thread.name.as_str() {
            "observer" => 5,
            "auditor" => 3,
            _ => 0,
        };
        assert_eq!(thread.permitted.count_ones(), wanted, "{thread:?}");
        assert_eq!((thread.inheritable, thread.ambient), (0, 0), "{thread:?}");
    }
    nobody_looks_into(daemon.pid())?;
    let recording = directory.path().join("recording");
    let recording = recording.to_str().context("a plain path")?;
    let mut recorder = nobody_with(&OBSERVING);
    recorder
        .arg(open.program())
        .args(["record", "-r", "100", "-o", recording]);
    let recorder = Ward(recorder.spawn()?);
    until("the recording", || {
        memmon::recording::Recording::open(Path::new(recording)).is_ok()
    })?;
    let answer = driver.ask("alloc b DRAM 2097152 2048")?;
    ensure!(recorder.end()?.success());
    let replayed = nobody(&["replay", recording, "--format", "json"])?;
    told(&replayed, &driver, &answer)?;
    let file = directory.path().join("snapshot");
    let file = file.to_str().context("a plain path")?;
    let fixture = open.path().join("fixture");
    let fixture = fixture.to_str().context("a plain path")?;
    // As a real program, it takes its time before its first device and after it.
    let words = "sleep 2000 , leak 2 8192 , sleep 1000 , report , exit 7";
    let mut run = vec!["run", "-o", file, "--", fixture];
    run.extend(words.split(' '));
    let ran = nobody(&run)?;
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
    let snapshot: Snapshot = serde_json::from_slice(&fs::read(file)?)?;
    let last = String::from_utf8_lossy(&ran.stdout);
    let answer: Value = serde_json::from_str(last.lines().last().context("silence")?)?;
    holds(snapshot.processes.first().context("the command")?, &answer)
}

fn nobodys_directory() -> Result<tempfile::TempDir> {
    let directory = open_directory()?;
    chown(directory.path(), Some(NOBODY), Some(NOBODY))?;
    Ok(directory)
}

/// An ordinary user's, with these rights.
fn nobodys_daemon(open: &Open, rights: &[&str]) -> Result<Daemon> {
    Daemon::start_copy(
        &open.program(),
        nobodys_directory()?,
        &mut nobody_with(rights),
        &[],
    )
}

fn told(output: &Output, driver: &Driver, answer: &Value) -> Result<()> {
    ensure!(output.status.success(), "{output:?}");
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout)?;
    holds(
        running(&snapshot, driver.pid()).context("the process")?,
        answer,
    )
}

fn shown_since(snapshot: &Snapshot, driver: &Driver) -> String {
    process(snapshot, driver.pid())
        .map(|p| p.since.to_string())
        .unwrap_or_default()
}

/// Threads without rights share their memory with those that have some: nobody else of the same user may
/// write to it.
fn nobody_looks_into(pid: u32) -> Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let memory = task?.path().join("mem");
        let mut dd = nobody_with(&[]);
        dd.args(["dd", "count=0", "status=none"])
            .arg(format!("if={}", memory.display()));
        let output = dd.output()?;
        ensure!(!output.status.success(), "{} is open", memory.display());
    }
    Ok(())
}

/// Each right taken away: what is said, or what is missing then.
#[test]
fn what_each_right_is_for() -> Result<()> {
    let open = open()?;
    let mut driver = somebodys(&open)?;
    driver.ask("leak 3 2097152")?;
    let pid = driver.pid().to_string();
    let without = |right: &str| -> Vec<&str> {
        OBSERVING
            .into_iter()
            .filter(|each| *each != right)
            .collect()
    };
    let directory = nobodys_directory()?;
    let socket = directory.path().join("socket");
    for right in ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"] {
        let mut serve = nobody_with(&without(right));
        serve
            .arg(open.program())
            .args(["serve", "--socket"])
            .arg(&socket);
        let output = serve.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "without {right}: {said}");
        ensure!(
            said.contains(&format!("CAP_{right}")),
            "without {right}: {said}"
        );
        ensure!(said.lines().count() == 1, "without {right}: {said}");
    }
    let look = |rights: &[&str]| -> Result<Output> {
        let mut command = nobody_with(rights);
        command.arg(open.program());
        command.args(["-q", "-p", &pid, "--format", "json"]);
        Ok(command.stdin(Stdio::null()).output()?)
    };
    // Looking takes two, of which one is said to be missing, and without the other it is not known.
    let output = look(&["DAC_READ_SEARCH"])?;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let answer = driver.ask("report")?;
    told(&look(&["SYS_PTRACE", "DAC_READ_SEARCH"])?, &driver, &answer)?;
    let output = look(&["SYS_PTRACE"])?;
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout)?;
    ensure!(
        process(&snapshot, driver.pid()).is_some_and(|p| p.usage.is_none()),
        "{output:?}"
    );
    // Without the last, a deleted library is not understood, and says why; others are.
    let without = without("CHECKPOINT_RESTORE");
    let daemon = nobodys_daemon(&open, &without)?;
    acquainted(&daemon, driver.pid())?;
    agrees(&daemon, &answer)?;
    let copy = Open::new(&Fixture::get(Layout::Pimpl, Fault::None)?)?;
    halt(daemon.pid())?;
    let late = somebodys(&copy).and_then(|mut late| late.ask("report").map(|_| late));
    let removed = fs::remove_file(copy.path().join("libtt_metal.so"));
    signal(daemon.pid(), libc::SIGCONT);
    let (late, ()) = (late?, removed?);
    let problem = daemon.wait_for("the deleted library", |snapshot| {
        let place = copy.path().to_str()?;
        let library = snapshot
            .libraries
            .iter()
            .find(|l| l.path.starts_with(place))?;
        library.problem.clone()
    })?;
    ensure!(problem.contains("CAP_CHECKPOINT_RESTORE"), "{problem}");
    let snapshot = daemon.snapshot()?;
    ensure!(process(&snapshot, late.pid()).is_some_and(|p| p.usage.is_none()));
    Ok(())
}

/// As root without the rest, the real runtime of another user.
#[test]
fn the_documented_rights_suffice_for_the_real_runtime() -> Result<()> {
    let Some(version) = lab::versions()?.pop() else {
        return Ok(());
    };
    let mut workload = Workload::start(&version, "hold.py", &["16", "L1:1"])?;
    let open = open()?;
    let step = workload.expect_step()?;
    let mut look = nobody_with(&["SYS_PTRACE", "DAC_READ_SEARCH"]);
    look.arg(open.program())
        .args(["-q", "--format", "json", "-p"]);
    let output = look
        .arg(step.pid.to_string())
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let once: Snapshot = serde_json::from_slice(&output.stdout)?;
    let daemon = nobodys_daemon(&open, &OBSERVING)?;
    acquainted(&daemon, step.pid)?;
    let seen = daemon.snapshot()?;
    for (chip, pools) in &step.truth {
        for (pool, bytes) in pools {
            for snapshot in [&once, &seen] {
                assert_eq!(
                    charged(snapshot, step.pid, *chip, pool),
                    Some(*bytes),
                    "{chip} {pool}"
                );
            }
        }
    }
    workload.kill()?;
    Ok(())
}

/// What a target has at its library's path by now is found, but never opened, and keeps nobody waiting: a
/// link that means another file outside of its root, a pipe, a device.
#[test]
fn nothing_outside_of_a_targets_root_is_opened() -> Result<()> {
    let open = open()?;
    let secret = open.path().join("secret");
    fs::write(&secret, "root's own")?;
    let mut secret_opened = Opened::watch(&secret)?;
    for evil in [
        format!("ln -s {}", secret.display()),
        "mkfifo -m 666".to_owned(),
        "mknod -m 666 $E c 1 5".to_owned(),
    ] {
        let root = open_directory()?;
        let mut prison = Prison::start(root.path(), &open, &evil)?;
        let pid = prison.driver.pid();
        let place = format!("/proc/{pid}/root/opt/libtt_metal.so");
        // Of a link there is nothing at its end.
        let mut opened = Opened::watch(Path::new(&place)).ok();
        let mut times = || opened.as_mut().map_or(0, Opened::times) + secret_opened.times();
        // Without the right that leads to the mapped file itself, paths are all there is.
        let rights = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"];
        let daemon = nobodys_daemon(&open, &rights)?;
        daemon.wait_for("the library that is not understood", |snapshot| {
            let mut libraries = snapshot.libraries.iter();
            libraries.find(|l| l.path == "/opt/libtt_metal.so" && l.problem.is_some())?;
            process(snapshot, pid)?.usage.is_none().then_some(())
        })?;
        assert_eq!(times(), 0, "{evil}");
        drop(daemon);
        // With it, it is the mapped file, whatever lies at its path.
        let daemon = Daemon::start(&[])?;
        acquainted(&daemon, pid)?;
        let answer = prison.driver.ask("alloc a DRAM 2097152 2048")?;
        agrees(&daemon, &answer)?;
        assert_eq!(times(), 0, "{evil}");
    }
    Ok(())
}

/// A driver in a root of its own, where something else lies at its library's path by now.
struct Prison {
    driver: Driver,
}

impl Prison {
    /// `evil` makes that something; its name is the last word, or `$E`.
    fn start(root: &Path, open: &Open, evil: &str) -> Result<Self> {
        let script = "set -e; R=$1; S=$2; mount -t tmpfs none $R; cd $R; mkdir opt evil proc old; \
            cp $S/fixture $S/libtt_metal.so opt/; \
            for d in usr lib lib64 bin; do mkdir $d; mount --rbind /$d $d; done; \
            pivot_root . old; cd /; mount -t proc none /proc; umount -l /old; exec /opt/fixture";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "prison"]);
        command.arg(root).arg(open.path());
        let mut driver = Driver::spawn(command)?;
        driver.ask("leak 1 2097152")?;
        let file = if evil.contains("$E") { "" } else { " $E" };
        let after =
            format!("set -e; E=/evil/libtt_metal.so; {evil}{file}; mount --rbind /evil /opt");
        let done = Command::new("nsenter")
            .args(["--mount", "--target", &driver.pid().to_string(), "sh", "-c"])
            .arg(after)
            .output()?;
        ensure!(done.status.success(), "{done:?}");
        Ok(Self { driver })
    }
}
