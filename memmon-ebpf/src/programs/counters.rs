//! What went by and what went wrong.

use memmon_ebpf::ledger::Counter;

use crate::{atomic, maps::COUNTERS, oddities};

#[inline(always)]
pub fn count(counter: Counter) {
    // Known where this is inlined: what goes by all the time is counted in place.
    if oddities::is_odd(counter) {
        oddities::memmon_odd(counter as u32);
    } else {
        add(counter as u32);
    }
}

/// Returns how often it is by now, on this CPU.
#[inline(always)]
pub fn add(counter: u32) -> u64 {
    match COUNTERS.get_ptr_mut(counter) {
        Some(slot) => atomic::add(slot, 1),
        None => 0,
    }
}
