//! The kernel is short of memory when an allocation is to be stored: what it refuses is never silently wrong, and all is
//! well again when there is memory.
//!
//! The tables are charged to the daemon's memory cgroup. Of the two kinds only version 1 can keep a process that is
//! itself out of memory waiting, instead of killing it.

use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    audit::settled,
    check::{acquainted, agrees, honest, is_exact},
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::Daemon,
    optional::NotRun,
};

const MEMORY: &str = "/sys/fs/cgroup/memory";
/// What the kernel may still take of it: far less than what is asked for.
const LEFT: u64 = 512 << 10;

/// A memory cgroup of one test's.
struct Group(PathBuf);

impl Group {
    fn new() -> Result<Self> {
        let switch = Path::new(MEMORY).join("memory.oom_control");
        if !switch.exists() {
            let why = format!("{} is not there", switch.display());
            return Err(NotRun(why).into());
        }
        let path = Path::new(MEMORY).join(format!("memmon-refused-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, value).with_context(|| format!("{value} to {}", path.display()))
    }

    fn number(&self, file: &str) -> Result<u64> {
        let text = fs::read_to_string(self.0.join(file))?;
        Ok(text.trim().parse()?)
    }

    /// A daemon that is a member of it from before its tables are made.
    fn daemon(&self, args: &[&str]) -> Result<Daemon> {
        let tasks = CString::new(self.0.join("tasks").as_os_str().as_bytes())?;
        Daemon::start_in(
            tempfile::tempdir()?,
            |command| {
                let join = move || join(&tasks);
                // SAFETY: after the fork it only makes system calls.
                unsafe { command.pre_exec(join) };
            },
            args,
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last member may be on its way out.
        let until = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn join(tasks: &CString) -> std::io::Result<()> {
    // SAFETY: a path that ends in NUL, and bytes that are there.
    let written = unsafe {
        let file = libc::open(tasks.as_ptr(), libc::O_WRONLY);
        let written = libc::write(file, c"0".as_ptr().cast(), 1);
        libc::close(file);
        written
    };
    match written {
        1 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn the_kernel_has_no_memory() -> Result<()> {
    let group = Group::new()?;
    let mut driver: Driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let pid = driver.pid();
    let daemon = group.daemon(&["-p", &pid.to_string(), "--audit", "0"])?;
    acquainted(&daemon, pid)?;
    agrees(&daemon, &driver.ask("leak 100 1024")?)?;

    group.write("memory.oom_control", "1")?;
    let limit = group.number("memory.usage_in_bytes")? + LEFT;
    group.write("memory.limit_in_bytes", &limit.to_string())?;
    let answer = driver.ask("leak 30000 1024")?;
    // The target has noticed nothing.
    assert_eq!(answer["ok"], true, "{answer}");
    let refused = group.number("memory.failcnt")?;
    ensure!(refused > 0, "there was memory");
    group.write("memory.limit_in_bytes", "-1")?;

    let snapshot = daemon.snapshot()?;
    honest(&snapshot, &answer)?;
    ensure!(!is_exact(&snapshot, pid), "all of it was stored");
    let notes = snapshot.health.notes.join("\n");
    ensure!(notes.contains("short of memory"), "{notes}");
    println!("{notes}");

    let report = settled(&daemon)?;
    agrees(&daemon, &answer).with_context(|| format!("after {report:#?}"))?;
    for step in ["alloc a DRAM 2097152 2048", "freeall", "leak 3 4096"] {
        agrees(&daemon, &driver.ask(step)?).with_context(|| step.to_owned())?;
    }
    Ok(())
}

memmon_tests::cases![the_kernel_has_no_memory];
