//! Which rights a command needs, and what to say where they are missing.

use super::exit::{Failure, NOT_PERMITTED};
use crate::attach::capabilities::{Capability, Held, TO_LOOK, TO_OBSERVE};

/// To place probes, and to look into the processes that they are hit in.
pub fn to_observe() -> Result<(), Failure> {
    require(&TO_OBSERVE, "placing probes")
}

/// To read other processes' memory.
pub fn to_look() -> Result<(), Failure> {
    require(&TO_LOOK, "reading what other processes hold")
}

fn require(wanted: &[Capability], what: &str) -> Result<(), Failure> {
    let missing = Held::now().lacking(wanted);
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
