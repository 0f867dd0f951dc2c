//! Which rights a command needs, what to say where they are missing, and what its main thread keeps when
//! the others have started.

use std::path::Path;

use caps::Capability;

use super::exit::{Failure, NOT_PERMITTED};
use crate::rights::{self, Held, LOOKING, SIGNALLING, TO_LOOK, TO_OBSERVE};

/// To place probes, and to look into the processes that they are hit in.
pub fn to_observe() -> Result<(), Failure> {
    require(&TO_OBSERVE, "placing probes")
}

/// To read other processes' memory.
pub fn to_look() -> Result<(), Failure> {
    require(&TO_LOOK, "reading what other processes hold")
}

/// Everything is started and open: `later` is what is still to be written, replaced or removed.
pub fn keep_to_write<'a>(later: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    Ok(rights::keep(&rights::to_write_later(later))?)
}

/// A command was started, which is waited for.
pub fn keep_for_command<'a>(later: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    let mut kept = SIGNALLING.to_vec();
    kept.extend(rights::to_write_later(later));
    Ok(rights::keep(&kept)?)
}

/// Processes are about to be looked at, once.
pub fn keep_to_look<'a>(later: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    let mut kept = LOOKING.to_vec();
    kept.extend(rights::to_write_later(later));
    Ok(rights::keep(&kept)?)
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
