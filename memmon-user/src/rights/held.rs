//! Which capabilities a thread has, and what each kind of work takes.

use caps::{CapSet, Capability, CapsHashSet};

/// Without these nothing is observed: BPF programs are loaded (`CAP_BPF`), probes are placed and
/// mappings are noticed (`CAP_PERFMON`), and the processes in which they are hit are looked into
/// (`CAP_SYS_PTRACE`).
pub const TO_OBSERVE: [Capability; 3] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_PTRACE,
];

/// Without this nothing of other users' processes is read.
pub const TO_LOOK: [Capability; 1] = [Capability::CAP_SYS_PTRACE];

/// The capabilities in force.
#[derive(Clone, Copy, Debug)]
pub struct Held(u64);

impl Held {
    /// The calling thread's.
    pub fn now() -> Self {
        Self::of(&caps::read(None, CapSet::Effective).unwrap_or_default())
    }

    fn of(set: &CapsHashSet) -> Self {
        Self(set.iter().fold(0, |mask, each| mask | each.bitmask()))
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn has(self, wanted: Capability) -> bool {
        let stand_in = is_part_of_admin(wanted) && self.has_itself(Capability::CAP_SYS_ADMIN);
        self.has_itself(wanted) || stand_in
    }

    fn has_itself(self, wanted: Capability) -> bool {
        self.0 & wanted.bitmask() != 0
    }

    /// The names of those that are not there.
    pub fn lacking(self, wanted: &[Capability]) -> Vec<String> {
        wanted
            .iter()
            .filter(|capability| !self.has(**capability))
            .map(ToString::to_string)
            .collect()
    }

    /// Those of `wanted` that are there, or what stands in for them.
    pub(super) fn among(self, wanted: &[Capability]) -> CapsHashSet {
        let admin = Capability::CAP_SYS_ADMIN;
        wanted
            .iter()
            .filter(|capability| self.has(**capability))
            .map(|capability| match self.has_itself(*capability) {
                true => *capability,
                false => admin,
            })
            .collect()
    }
}

/// Before 5.8 there was only `CAP_SYS_ADMIN`, and it still stands in for what came out of it.
fn is_part_of_admin(capability: Capability) -> bool {
    matches!(
        capability,
        Capability::CAP_BPF | Capability::CAP_PERFMON | Capability::CAP_CHECKPOINT_RESTORE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{
        CAP_BPF, CAP_CHECKPOINT_RESTORE, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN, CAP_SYS_PTRACE,
    };

    #[test]
    fn names_of_what_is_missing() {
        // `capsh --decode=8000080000` says cap_sys_ptrace,cap_bpf.
        let held = Held(0x80_0008_0000);
        assert_eq!(held.lacking(&TO_OBSERVE), ["CAP_PERFMON"]);
        assert!(held.lacking(&TO_LOOK).is_empty());
        assert_eq!(Held(0).lacking(&TO_OBSERVE).len(), 3);
    }

    #[test]
    fn the_administrator_may_what_came_out_of_that() {
        let held = Held::of(&[CAP_SYS_ADMIN].into());
        assert_eq!(held.lacking(&TO_OBSERVE), ["CAP_SYS_PTRACE"]);
        assert!(held.has(CAP_CHECKPOINT_RESTORE));
        assert!(!held.has(CAP_DAC_READ_SEARCH));
    }

    #[test]
    fn the_administrator_is_kept_only_where_the_part_is_not_there() {
        let both = Held::of(&[CAP_SYS_ADMIN, CAP_BPF, CAP_SYS_PTRACE].into());
        assert_eq!(both.among(&[CAP_BPF]), [CAP_BPF].into());
        assert_eq!(both.among(&TO_OBSERVE).len(), 3, "PERFMON is stood in for");
        assert_eq!(Held(0).among(&TO_OBSERVE), [].into());
    }
}
