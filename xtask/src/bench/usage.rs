//! What a process takes: processor time, wake-ups, memory, and the kernel's memory for its BPF maps.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Nanoseconds of processor time of all threads that live.
    pub processor_ns: u64,
    /// Times that one of them went to sleep, and so was woken up.
    pub sleeps: u64,
    /// Bytes of its own memory.
    pub memory: u64,
    /// Bytes of its BPF maps.
    pub maps: u64,
}

impl Usage {
    pub fn of(pid: u32) -> Result<Self> {
        let mut usage = Self {
            memory: field(&read(&format!("/proc/{pid}/status"))?, "RssAnon").unwrap_or(0) * 1024,
            maps: maps(pid)?,
            ..Self::default()
        };
        let folder = format!("/proc/{pid}/task");
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let path = entry?.path();
            let Ok(times) = fs::read_to_string(path.join("schedstat")) else {
                continue;
            };
            let ran = times.split(' ').next().unwrap_or_default();
            usage.processor_ns += ran.parse::<u64>().unwrap_or(0);
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            usage.sleeps += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
        }
        Ok(usage)
    }

    /// What was used since `before`; memory as more than it was then.
    pub fn since(self, before: Self) -> Self {
        Self {
            processor_ns: self.processor_ns.saturating_sub(before.processor_ns),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
            memory: self.memory.saturating_sub(before.memory),
            maps: self.maps.saturating_sub(before.maps),
        }
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Each map once, however many descriptors it has.
fn maps(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        if let (Some(id), Some(bytes)) = (field(&text, "map_id"), field(&text, "memlock")) {
            found.insert(id, bytes);
        }
    }
    Ok(found.values().sum())
}
