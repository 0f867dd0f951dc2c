//! What should not happen, told in words: the first time on each CPU, the second, the fourth, …
//!
//! A hit in which nothing is odd pays nothing for it: all of this is out of line, and with logging
//! off the verifier takes the words out.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_log_ebpf::{debug, warn};
use memmon_ebpf::ledger::Counter;

use crate::counters;

/// Whether it is worth a word.
#[inline(always)]
pub const fn is_odd(counter: Counter) -> bool {
    matches!(
        counter,
        Counter::BadSpecs
            | Counter::TableFull
            | Counter::LiveFull
            | Counter::LiveRefused
            | Counter::FailedReads
    )
}

/// Counts it, and tells it. Exported, which makes it a global function: verified once, not once a
/// caller. Such functions must return a number.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn memmon_odd(counter: u32) -> u32 {
    let times = counters::add(counter);
    if times.is_power_of_two() {
        tell(counter, times);
    }
    0
}

#[inline(always)]
fn tell(counter: u32, times: u64) {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if counter == Counter::BadSpecs as u32 {
        warn!(
            (),
            "pid {}: hit a probe without a spec of this version ({} on this CPU)", pid, times
        );
    } else if counter == Counter::TableFull as u32 {
        warn!(
            (),
            "pid {}: a table is full, its rows are not exact ({} on this CPU)", pid, times
        );
    } else if counter == Counter::LiveFull as u32 {
        warn!(
            (),
            "pid {}: more live allocations than --live-entries ({} on this CPU)", pid, times
        );
    } else if counter == Counter::LiveRefused as u32 {
        warn!(
            (),
            "pid {}: the kernel did not store an allocation ({} on this CPU)", pid, times
        );
    } else {
        debug!(
            (),
            "pid {}: memory that a probe needs could not be read ({} on this CPU)", pid, times
        );
    }
}
