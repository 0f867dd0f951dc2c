//! Where a process runs and who else looks at it make no difference: namespaces, a root of its own,
//! a debugger.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{agrees, holds, running},
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{Daemon, Ward, query},
};
use serde_json::Value;

/// The process of this program under a launcher.
fn pid_of(program: &Path, launcher: u32) -> Result<u32> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
            if first == program.as_os_str().as_encoded_bytes() && descends(pid, launcher) {
                return Ok(pid);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("{} does not run", program.display())
}

fn descends(pid: u32, from: u32) -> bool {
    if pid == from {
        return true;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let parent = parent
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    parent != 0 && descends(parent, from)
}

/// An answer, with the pid by which the host knows the process.
fn from_outside(mut answer: Value, pid: u32) -> Value {
    answer["pid"] = pid.into();
    answer
}

/// All of it by a process that believes to be pid 1 or 2 of its own world.
fn in_a_world_of_its_own(mut driver: Driver, program: &Path) -> Result<()> {
    let answer = driver.ask("leak 9 8192")?;
    let pid = pid_of(program, driver.pid())?;
    ensure!(
        answer["pid"].as_u64() < Some(10),
        "a pid of its own: {answer}"
    );
    let snapshot = query(&["-p", &pid.to_string()])?;
    holds(
        running(&snapshot, pid).context("asked")?,
        &from_outside(answer.clone(), pid),
    )?;
    let daemon = Daemon::start(&[])?;
    agrees(&daemon, &from_outside(answer, pid))?;
    for step in [
        "alloc b L1 32768 4096",
        "threads 3 2 count 50 keep 7",
        "reopen",
        "leak 2 8192",
    ] {
        let answer = driver.ask(step)?;
        agrees(&daemon, &from_outside(answer, pid)).with_context(|| step.to_owned())?;
    }
    // A child that opens its own.
    let answer = driver.ask("forkopen hold 60000")?;
    let snapshot = agrees(&daemon, &from_outside(answer.clone(), pid))?;
    let children: Vec<_> = snapshot
        .processes
        .iter()
        .filter(|process| process.pid != pid && descends(process.pid, pid))
        .collect();
    ensure!(children.len() == 1, "{children:#?}");
    holds(children[0], &answer["child"])?;
    // SAFETY: a descendant of ours; with it goes its world.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
    daemon.wait_for("its end", |snapshot| {
        running(snapshot, pid).is_none().then_some(())
    })
}

#[test]
fn in_another_pid_namespace() -> Result<()> {
    let program = Fixture::get(Layout::Pimpl, Fault::None)?.driver();
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(&program);
    in_a_world_of_its_own(Driver::spawn(command)?, &program)
}

/// As a container has it: root, mounts, pids, host name, IPC, network and cgroup of its own.
#[test]
fn in_a_container_with_its_own_root() -> Result<()> {
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let root = tempfile::tempdir()?;
    let script = "set -e; root=$1; mount -t tmpfs tmpfs \"$root\"; cd \"$root\"; mkdir app old proc; \
        for d in bin sbin lib lib64 usr; do if [ -L /$d ]; then cp -P /$d $d; elif [ -d /$d ]; then mkdir $d; mount --bind /$d $d; fi; done; \
        cp \"$2/fixture\" \"$2/libtt_metal.so\" app/; mount -t proc proc proc; pivot_root . old; \
        umount -l /old; cd /; exec /app/fixture";
    let mut command = Command::new("unshare");
    command
        .args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--cgroup",
        ])
        .args(["sh", "-c", script, "sh"])
        .arg(root.path())
        .arg(&fixture.dir);
    in_a_world_of_its_own(Driver::spawn(command)?, Path::new("/app/fixture"))
}

/// gdb attaches, breaks at every allocation (not on the very instruction of a probe: that one the
/// kernel keeps to itself), steps, and lets go; memmon comes before it or while it is there.
#[test]
fn traced_by_a_debugger() -> Result<()> {
    const BREAKS: usize = 12;
    for memmon_first in [true, false] {
        let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
        driver.ask("leak 5 8192")?;
        let pid = driver.pid().to_string();
        let mut daemon = None;
        if memmon_first {
            daemon = Some(Daemon::start(&["-p", &pid])?);
        }
        let directory = tempfile::tempdir()?;
        let commands = directory.path().join("commands");
        let mut text = String::from(
            "set pagination off\nset confirm off\nset breakpoint pending off\n\
             break tt::tt_metal::allocator::FreeListOpt::allocate_in_block\necho ready\\n\n",
        );
        for _ in 0..BREAKS {
            text.push_str("continue\nstepi\nstepi\n");
        }
        text.push_str("delete\ndetach\nquit\n");
        fs::write(&commands, text)?;
        let log = directory.path().join("log");
        let gdb = Command::new("gdb")
            .args(["-q", "-nx", "-batch", "-p", &pid, "-x"])
            .arg(&commands)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()
            .context("gdb is needed for this test")?;
        let mut gdb = Ward(gdb);
        let until = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(&log)?.contains("ready") {
            ensure!(Instant::now() < until, "gdb: {}", fs::read_to_string(&log)?);
            std::thread::sleep(Duration::from_millis(50));
        }
        let daemon = match daemon {
            Some(daemon) => daemon,
            None => Daemon::start(&["-p", &pid])?,
        };
        let answer = driver.ask(&format!("leak {BREAKS} 65536"))?;
        agrees(&daemon, &answer)?;
        ensure!(gdb.0.wait()?.success());
        let hits = fs::read_to_string(&log)?.matches("\nBreakpoint 1").count();
        ensure!(
            hits >= BREAKS,
            "{hits} stops: {}",
            fs::read_to_string(&log)?
        );
        for step in [
            "leak 3 8192",
            "oom",
            "threads 3 2 count 200 keep 7",
            "freeall",
        ] {
            let answer = driver.ask(step)?;
            agrees(&daemon, &answer).with_context(|| step.to_owned())?;
        }
        ensure!(driver.finish()?.success());
    }
    Ok(())
}
