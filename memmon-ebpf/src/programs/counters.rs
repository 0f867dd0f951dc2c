//! What went by and what went wrong.

use memmon_ebpf::ledger::Counter;

use crate::{atomic, maps::COUNTERS};

#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        atomic::add(slot, 1);
    }
}
