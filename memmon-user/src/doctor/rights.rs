//! What this process may do, and where it stands.

use std::{fs, os::unix::fs::MetadataExt as _};

use caps::Capability;

use super::{Area, Check, State};
use crate::rights::{Held, TO_OBSERVE};

const AREA: Area = Area::Rights;
/// The inode of the first pid namespace, fixed in the kernel (`PROC_PID_INIT_INO`).
const HOST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

pub fn checks(held: Held) -> Vec<Check> {
    let namespace = fs::metadata("/proc/self/ns/pid").map(|meta| meta.ino());
    vec![
        capabilities(held),
        others(held),
        deleted_files(held),
        pid_namespace(namespace.ok()),
    ]
}

fn capabilities(held: Held) -> Check {
    const NAME: &str = "capabilities";
    let missing = held.lacking(&TO_OBSERVE);
    if missing.is_empty() {
        let names = TO_OBSERVE.map(|capability| capability.to_string());
        return AREA.ok(NAME, names.join(", "));
    }
    AREA.finds(
        NAME,
        State::NotPermitted,
        format!("{} missing", missing.join(", ")),
        "run it as root (sudo memmon-ebpf …), or ask a daemon (`sudo memmon-ebpf serve`)",
    )
}

/// Their memory and the folder of their mapped files are open to their owner only.
fn others(held: Held) -> Check {
    const NAME: &str = "other users";
    if held.has(Capability::CAP_DAC_READ_SEARCH) {
        return AREA.ok(NAME, "their processes can be read");
    }
    AREA.finds(
        NAME,
        State::Limited,
        "what other users' processes held before memmon came stays unknown",
        "run it as root, or with CAP_DAC_READ_SEARCH",
    )
}

fn deleted_files(held: Held) -> Check {
    const NAME: &str = "deleted libraries";
    if held.has(Capability::CAP_CHECKPOINT_RESTORE) {
        return AREA.ok(NAME, "can be opened while a process maps them");
    }
    AREA.finds(
        NAME,
        State::Limited,
        "a library that was deleted or replaced while a process maps it cannot be opened",
        "run it as root, or with CAP_CHECKPOINT_RESTORE",
    )
}

fn pid_namespace(inode: Option<u64>) -> Check {
    const NAME: &str = "pid namespace";
    match inode {
        Some(HOST_PID_NAMESPACE) => AREA.ok(NAME, "the host's"),
        Some(_) => AREA.finds(
            NAME,
            State::Failed,
            "one of its own: the pids that the kernel reports are not those seen here",
            "run memmon-ebpf on the host, or in a container with its pids (`docker run --pid=host`)",
        ),
        None => AREA.finds(
            NAME,
            State::Unchecked,
            "/proc/self/ns/pid cannot be read",
            "mount /proc",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_pids_will_do() {
        assert_eq!(pid_namespace(Some(4_026_531_836)).state, State::Ok);
        assert_eq!(pid_namespace(Some(4_026_532_000)).state, State::Failed);
        assert_eq!(pid_namespace(None).state, State::Unchecked);
    }
}
