//! What the kernel lets this process do.

/// A capability: its number in the kernel, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    bit: u32,
    pub name: &'static str,
}

impl Capability {
    const fn new(bit: u32, name: &'static str) -> Self {
        Self { bit, name }
    }
}

/// To read what only its owner may, such as tracefs.
pub const DAC_READ_SEARCH: Capability = Capability::new(2, "CAP_DAC_READ_SEARCH");
/// To read other processes' mappings and memory.
pub const SYS_PTRACE: Capability = Capability::new(19, "CAP_SYS_PTRACE");
pub const SYS_ADMIN: Capability = Capability::new(21, "CAP_SYS_ADMIN");
/// To place probes.
pub const PERFMON: Capability = Capability::new(38, "CAP_PERFMON");
/// To load BPF programs.
pub const BPF: Capability = Capability::new(39, "CAP_BPF");
/// To open a file that is mapped and was deleted.
pub const CHECKPOINT_RESTORE: Capability = Capability::new(40, "CAP_CHECKPOINT_RESTORE");

/// What it takes to place probes, and to look into the processes that they are hit in.
pub const TO_OBSERVE: [Capability; 3] = [BPF, PERFMON, SYS_PTRACE];
/// What it takes to read what other processes hold.
pub const TO_LOOK: [Capability; 1] = [SYS_PTRACE];

/// The capabilities in force.
#[derive(Clone, Copy, Debug)]
pub struct Held(u64);

impl Held {
    /// This process's.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::parse(&status)
    }

    fn parse(status: &str) -> Self {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        Self(mask.unwrap_or_default())
    }

    pub fn has(self, wanted: Capability) -> bool {
        let held = |capability: Capability| self.0 & (1 << capability.bit) != 0;
        // Before 5.8 there was only this one, and it still stands in for what came out of it.
        let part_of_admin = [BPF, PERFMON, CHECKPOINT_RESTORE].contains(&wanted);
        held(wanted) || (part_of_admin && held(SYS_ADMIN))
    }

    /// The names of those that are not there.
    pub fn lacking(self, wanted: &[Capability]) -> Vec<&'static str> {
        wanted
            .iter()
            .filter(|capability| !self.has(**capability))
            .map(|capability| capability.name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(mask: &str) -> Held {
        Held::parse(&format!("Name:\tx\nCapPrm:\tff\nCapEff:\t{mask}\n"))
    }

    #[test]
    fn numbers_as_in_the_kernel() {
        // `capsh --decode=8000080000` says cap_sys_ptrace,cap_bpf.
        assert_eq!(held("8000080000").lacking(&TO_OBSERVE), ["CAP_PERFMON"]);
        assert!(held("8000080000").lacking(&TO_LOOK).is_empty());
        assert_eq!(held("0").lacking(&TO_OBSERVE).len(), 3);
    }

    #[test]
    fn the_administrator_may_what_came_out_of_that() {
        // cap_sys_admin
        assert_eq!(held("200000").lacking(&TO_OBSERVE), ["CAP_SYS_PTRACE"]);
        assert!(held("200000").has(CHECKPOINT_RESTORE));
        assert!(!held("200000").has(DAC_READ_SEARCH));
    }
}
