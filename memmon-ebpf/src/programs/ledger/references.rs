//! Allocations that are counted references to: the last one to go ends them.

use memmon_ebpf::{
    ledger::{LiveKey, live_flag},
    spec::flag,
};

use super::{Event, freeing};
use crate::{atomic, maps::LIVE};

/// One more.
#[inline(never)]
pub(super) fn take(key: &LiveKey) {
    if let Some(value) = LIVE.get_ptr_mut(key) {
        // SAFETY: a map value.
        unsafe { atomic::add32(&raw mut (*value).references, 1) };
    }
}

/// One fewer. Returns whether that was the last one; of what is not known, too.
#[inline(never)]
pub(super) fn is_last(event: &Event, key: &LiveKey) -> bool {
    let Some(value) = LIVE.get_ptr_mut(key) else {
        return true;
    };
    // SAFETY: a map value.
    let (flags, before) = unsafe {
        let flags = (*value).flags;
        (flags, atomic::add32(&raw mut (*value).references, u32::MAX))
    };
    // Of what is left but its trace, there is nothing to count down.
    if before == 0 || flags & live_flag::TOMBSTONE != 0 {
        return true;
    }
    if event.has(flag::KEEPS_FREED) {
        freeing::keep_released(event, key);
    }
    false
}
