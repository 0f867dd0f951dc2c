//! What the kernel says about the rights of a process's threads, and programs that are started with
//! some rights only.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// Rights by the names that the documentation has, without `CAP_`.
pub const OBSERVING: [&str; 5] = [
    "BPF",
    "PERFMON",
    "SYS_PTRACE",
    "DAC_READ_SEARCH",
    "CHECKPOINT_RESTORE",
];

/// Sets of capabilities of one thread, as `/proc/PID/task/TID/status` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    pub name: String,
    pub is_main: bool,
    pub inheritable: u64,
    pub permitted: u64,
    pub effective: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub no_new_privileges: bool,
}

/// Those that run now.
pub fn threads(pid: u32) -> Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        // It may have ended meanwhile.
        if let Ok(status) = fs::read_to_string(task.path().join("status")) {
            let is_main = task.file_name().to_str() == Some(&pid.to_string());
            threads.push(thread(&status, is_main)?);
        }
    }
    Ok(threads)
}

fn thread(status: &str, is_main: bool) -> Result<Thread> {
    let text = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("no {name}"))
    };
    let set = |name: &str| -> Result<u64> { Ok(u64::from_str_radix(text(name)?, 16)?) };
    Ok(Thread {
        name: text("Name:")?.to_owned(),
        is_main,
        inheritable: set("CapInh:")?,
        permitted: set("CapPrm:")?,
        effective: set("CapEff:")?,
        bounding: set("CapBnd:")?,
        ambient: set("CapAmb:")?,
        no_new_privileges: text("NoNewPrivs:")? == "1",
    })
}

/// The threads, when all of them have given up what they do not need: each has what it must have by its name
/// (the main one `main`), and nothing else, and gets no more. A thread that has just been started has
/// what the one that started it had.
pub fn have_no_more_than(pid: u32, main: &[&str]) -> Result<Vec<Thread>> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let threads = threads(pid)?;
        match are_right(&threads, main) {
            Ok(()) => return Ok(threads),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// As a mask.
pub fn mask(names: &[&str]) -> Result<u64> {
    let mut mask = 0;
    for name in names {
        let number = match *name {
            "CHOWN" => 0,
            "DAC_OVERRIDE" => 1,
            "DAC_READ_SEARCH" => 2,
            "FOWNER" => 3,
            "KILL" => 5,
            "SETGID" => 6,
            "SETUID" => 7,
            "NET_ADMIN" => 12,
            "SYS_CHROOT" => 18,
            "SYS_PTRACE" => 19,
            "SYS_ADMIN" => 21,
            "PERFMON" => 38,
            "BPF" => 39,
            "CHECKPOINT_RESTORE" => 40,
            other => bail!("CAP_{other}"),
        };
        mask |= 1 << number;
    }
    Ok(mask)
}

fn are_right(threads: &[Thread], main: &[&str]) -> Result<()> {
    for thread in threads {
        let wanted: &[&str] = match thread.name.as_str() {
            "observer" => &OBSERVING,
            "launcher" => &["SYS_ADMIN", "NET_ADMIN", "SYS_CHROOT", "SETUID", "SETGID"],
            "auditor" => &["SYS_PTRACE", "DAC_READ_SEARCH", "CHECKPOINT_RESTORE"],
            _ if thread.is_main => main,
            _ => &[],
        };
        // It starts programs that need what it has.
        let handed_down = match thread.name.as_str() {
            "launcher" => mask(wanted)?,
            _ => 0,
        };
        let wanted = Thread {
            name: thread.name.clone(),
            is_main: thread.is_main,
            inheritable: handed_down,
            permitted: mask(wanted)?,
            effective: mask(wanted)?,
            bounding: 0,
            ambient: handed_down,
            no_new_privileges: true,
        };
        ensure!(*thread == wanted, "{thread:x?} has not just {wanted:x?}");
    }
    Ok(())
}

/// `setpriv` that starts its command as nobody with these rights and no others.
pub fn nobody_with(names: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    let list = list(names);
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(format!("--inh-caps={list}"));
    command.arg(format!("--ambient-caps={list}"));
    command.current_dir("/");
    command
}

/// As `setpriv` takes them.
pub fn list(names: &[&str]) -> String {
    let mut list = "-all".to_owned();
    for name in names {
        list += &format!(",+{}", name.to_lowercase());
    }
    list
}

/// How many times a file was opened.
#[derive(Debug)]
pub struct Opened(fs::File);

impl Opened {
    pub fn watch(path: &Path) -> Result<Self> {
        use std::os::{fd::FromRawFd as _, unix::ffi::OsStrExt as _};
        let name = std::ffi::CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: makes a descriptor, or -1.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        ensure!(fd >= 0, "inotify");
        // SAFETY: it was just made, and is nobody else's.
        let file = unsafe { fs::File::from_raw_fd(fd) };
        // SAFETY: reads a C string that lives for the call.
        let watched = unsafe { libc::inotify_add_watch(fd, name.as_ptr(), libc::IN_OPEN) };
        ensure!(watched >= 0, "inotify {}", path.display());
        Ok(Self(file))
    }

    pub fn times(&mut self) -> usize {
        use std::io::Read as _;
        let mut events = [0; 4096];
        // An event without a name.
        self.0.read(&mut events).unwrap_or_default() / 16
    }
}
