//! Which rights this process has, and which it lacks.

use super::exit::{Failure, NOT_PERMITTED};

/// A capability: its number in the kernel, and its name.
#[derive(Clone, Copy)]
pub struct Capability(u32, &'static str);

const SYS_PTRACE: Capability = Capability(19, "CAP_SYS_PTRACE");
const SYS_ADMIN: Capability = Capability(21, "CAP_SYS_ADMIN");
const PERFMON: Capability = Capability(38, "CAP_PERFMON");
const BPF: Capability = Capability(39, "CAP_BPF");

/// To place probes, and to look into the processes that they are hit in.
pub fn to_observe() -> Result<(), Failure> {
    require(&[BPF, PERFMON, SYS_PTRACE], "placing probes")
}

/// To read other processes' memory.
pub fn to_look() -> Result<(), Failure> {
    require(&[SYS_PTRACE], "reading what other processes hold")
}

fn require(wanted: &[Capability], what: &str) -> Result<(), Failure> {
    let has = effective();
    // Before 5.8 there was only this one, and it still stands in for the two.
    let admin = has & (1 << SYS_ADMIN.0) != 0;
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|Capability(bit, _)| has & (1 << bit) == 0)
        .filter(|Capability(bit, _)| !(admin && (*bit == BPF.0 || *bit == PERFMON.0)))
        .map(|Capability(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::with(
        NOT_PERMITTED,
        format!(
            "not permitted: {what} needs {}; run it as root (sudo memmon-ebpf …), or ask a daemon (`sudo memmon-ebpf serve`)",
            missing.join(" and ")
        ),
    ))
}

fn effective() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}
