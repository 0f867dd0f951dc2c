//! What went by and what went wrong.

use memmon_ebpf::ledger::Counter;

use crate::{atomic, maps::COUNTERS, oddities};

#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        let times = atomic::add(slot, 1);
        // Known where this is inlined: what goes by all the time has none of it.
        if oddities::is_odd(counter) && times.is_power_of_two() {
            oddities::tell(counter as u32, times);
        }
    }
}
