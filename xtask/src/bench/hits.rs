//! How often memmon's programs ran, by the kernel's own count: it keeps one while `kernel.bpf_stats_enabled` is 1.

use std::fs;

use anyhow::{Context, Result};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// While this lives, the kernel counts.
#[derive(Debug)]
pub struct Counting {
    before: String,
}

impl Counting {
    pub fn start() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, self.before.trim());
    }
}

/// Runs and nanoseconds of all programs that a process holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    pub count: u64,
    pub ns: u64,
}

/// The probes' programs alone: tracepoints have other program types.
pub fn of_process(pid: u32) -> Result<Runs> {
    const KPROBE: u64 = 2;
    let mut sum = Runs::default();
    let folder = format!("/proc/{pid}/fdinfo");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let field = |name: &str| -> Option<u64> {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
                .trim()
                .parse()
                .ok()
        };
        if field("prog_type") == Some(KPROBE) {
            sum.count += field("run_cnt").unwrap_or(0);
            sum.ns += field("run_time_ns").unwrap_or(0);
        }
    }
    Ok(sum)
}
