//! Who a process is, as `/proc` and the user database say.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use nix::unistd::{SysconfVar, Uid, User, sysconf};

use super::boot;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks since boot: with the pid, this is the process.
    pub start_ticks: Option<u64>,
    pub comm: String,
    pub command: Vec<String>,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub cgroup: Option<String>,
}

/// The longest command line that is kept.
const COMMAND_BYTES: usize = 4096;

impl Identity {
    pub fn read(pid: u32) -> io::Result<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        let (comm, start_ticks) = parse_stat(&String::from_utf8_lossy(&stat));
        let uid = fs::metadata(format!("/proc/{pid}"))
            .ok()
            .map(|meta| meta.uid());
        Ok(Self {
            pid,
            start_ticks,
            comm,
            command: command(pid),
            uid,
            user: uid.and_then(user_name),
            cgroup: cgroup(pid),
        })
    }

    /// When it was started, in nanoseconds since the epoch.
    pub fn start_time_ns(&self) -> Option<i128> {
        let ticks = i128::from(self.start_ticks?);
        let per_second = i128::from(sysconf(SysconfVar::CLK_TCK).ok()??);
        Some(boot_time_ns()? + ticks * 1_000_000_000 / per_second)
    }
}

/// Just the start time: whether a pid still is who it was.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat)).1
}

/// Whether the process that was started then still runs: not gone, not a zombie, not another one.
pub fn still_runs(pid: u32, start: Option<u64>) -> bool {
    fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let stat = String::from_utf8_lossy(&stat);
        is_alive(&stat) && parse_stat(&stat).1 == start
    })
}

/// When the process was started, in nanoseconds since boot, rounded down to clock ticks.
pub fn started_ns(pid: u32) -> Option<u64> {
    let per_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    let told = start_ticks(pid)?
        .checked_mul(1_000_000_000)?
        .checked_div(per_second)?;
    Some(boot::of_host(told))
}

/// Whether the process runs the very program that this one does: it is memmon, too.
pub fn is_own_program(pid: u32) -> bool {
    let program = |of: &str| {
        let meta = fs::metadata(format!("/proc/{of}/exe")).ok()?;
        Some((meta.dev(), meta.ino()))
    };
    program(&pid.to_string()).is_some_and(|other| Some(other) == program("self"))
}

/// Whether the process runs: not gone, not a zombie.
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else {
        return false;
    };
    is_alive(&String::from_utf8_lossy(&stat))
}

fn is_alive(stat: &str) -> bool {
    !matches!(parse_state(stat), Some('Z' | 'X') | None)
}

/// The state letter in `/proc/PID/stat`.
pub fn parse_state(stat: &str) -> Option<char> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next()
}

/// The name and the start time, in clock ticks since boot, in `/proc/PID/stat`.
pub fn parse_stat(stat: &str) -> (String, Option<u64>) {
    // The name stands in parentheses and may hold any character, parentheses too.
    let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else {
        return (String::new(), None);
    };
    let comm = stat.get(open + 1..close).unwrap_or_default().to_owned();
    // Field 22; the first after the name is 3.
    let ticks = stat
        .get(close + 1..)
        .and_then(|rest| rest.split_whitespace().nth(19))
        .and_then(|field| field.parse().ok());
    (comm, ticks)
}

fn command(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    parse_command(&bytes)
}

/// The words in `/proc/PID/cmdline`, as far as they are kept.
pub fn parse_command(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.get(..COMMAND_BYTES).unwrap_or(bytes);
    let end = bytes.iter().rposition(|byte| *byte != 0);
    let Some(bytes) = end.and_then(|end| bytes.get(..=end)) else {
        return Vec::new();
    };
    bytes
        .split(|byte| *byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map(|user| user.name)
}

fn cgroup(pid: u32) -> Option<String> {
    parse_cgroup(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// The path in `/proc/PID/cgroup`.
pub fn parse_cgroup(text: &str) -> Option<String> {
    // Version 2 has one line, `0::/path`.
    let line = text
        .lines()
        .find(|line| line.starts_with("0::"))
        .or_else(|| text.lines().next())?;
    line.splitn(3, ':').nth(2).map(str::to_owned)
}

fn boot_time_ns() -> Option<i128> {
    parse_boot_time(&fs::read_to_string("/proc/stat").ok()?)
}

/// When the machine was started, in nanoseconds since the epoch, in `/proc/stat`.
pub fn parse_boot_time(stat: &str) -> Option<i128> {
    let line = stat.lines().find(|line| line.starts_with("btime "))?;
    let seconds: i128 = line.split_whitespace().nth(1)?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)
}

/// The process that started it, or has taken it on.
pub fn parent(pid: u32) -> Option<u32> {
    parse_parent(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The parent in `/proc/PID/status`.
pub fn parse_parent(status: &str) -> Option<u32> {
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        assert_eq!(parse_stat(stat), ("a) b (c".to_owned(), Some(777)));
        assert_eq!(parse_stat("nonsense"), (String::new(), None));
    }

    #[test]
    fn own_identity() {
        let own = Identity::read(std::process::id()).unwrap();
        assert!(own.start_ticks.is_some());
        assert!(!own.command.is_empty());
        assert!(is_running(own.pid));
        assert!(still_runs(own.pid, own.start_ticks));
        assert!(!still_runs(own.pid, None));
    }
}
