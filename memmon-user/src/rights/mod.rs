//! Least privilege. Capabilities belong to threads: each thread keeps what its work takes, and the
//! rest is given up for good. docs/privileges.md says which thread keeps what, and why.

mod give_up;
mod held;
mod places;

use caps::Capability;

pub use give_up::{RightsError, as_what_is_executed, keep, keep_and_hand_down, or_end, unreadable};
pub use held::{Held, TO_LOOK, TO_OBSERVE};
pub use places::{no_trap, to_write_later};

/// To look into any process: its mappings and memory (`SYS_PTRACE`, and `DAC_READ_SEARCH` where it
/// is another user's), and its files, deleted ones, too (`CHECKPOINT_RESTORE`).
pub const LOOKING: [Capability; 3] = [
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_CHECKPOINT_RESTORE,
];

/// [`LOOKING`], and to attach to libraries that come later.
pub const OBSERVING: [Capability; 5] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_CHECKPOINT_RESTORE,
];

/// To send the command of `run` a signal, whoever it has become.
pub const SIGNALLING: [Capability; 1] = [Capability::CAP_KILL];

/// To shut a Tracy client away: in a network of its own, an empty root, as nobody.
pub const CONFINING: [Capability; 5] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
];

/// For the thread that attaches to libraries as they come. Call it when everything is attached.
pub fn keep_for_observing() -> Result<(), RightsError> {
    keep(&OBSERVING)
}

/// First thing in a thread that reads targets' memory and mappings, and attaches to nothing.
pub fn keep_for_looking() -> Result<(), RightsError> {
    keep(&LOOKING)
}

/// First thing in a thread that reads and writes BPF maps that it was given. Since Linux 5.19 that
/// takes no right; before, `bpf()` was refused to those without, whatever it was called for
/// (`kernel.unprivileged_bpf_disabled`).
pub fn keep_for_maps(kernel: (u32, u32)) -> Result<(), RightsError> {
    match kernel {
        (5, ..19) => keep(&[Capability::CAP_BPF]),
        _ => drop_all(),
    }
}

/// First thing in a thread that does both.
pub fn keep_for_auditing(kernel: (u32, u32)) -> Result<(), RightsError> {
    match kernel {
        (5, ..19) => keep(&[LOOKING.as_slice(), &[Capability::CAP_BPF]].concat()),
        _ => keep_for_looking(),
    }
}

/// First thing in every other thread.
pub fn drop_all() -> Result<(), RightsError> {
    keep(&[])
}
