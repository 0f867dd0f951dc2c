//! Who a process is, as the tables want it.

use crate::{clock, tables::facts::ProcessFacts, target::identity};

pub(super) fn process_facts(identity: &identity::Identity) -> ProcessFacts {
    ProcessFacts {
        pid: identity.pid,
        start_time: identity.start_time_ns().and_then(clock::rfc3339),
        comm: identity.comm.clone(),
        command: identity.command.clone(),
        uid: identity.uid,
        user: identity.user.clone(),
        cgroup: identity.cgroup.clone(),
    }
}

/// A name as the kernel keeps it.
pub(super) fn text(comm: &[u8; 16]) -> String {
    let end = comm
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}
