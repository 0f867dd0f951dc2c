//! Records into the ring buffers. A full ring is counted, never waited for.

use aya_ebpf::{bindings::BPF_RB_AVAIL_DATA, helpers::bpf_ktime_get_boot_ns, maps::RingBuf};
use memmon_ebpf::{
    WIRE_VERSION,
    ledger::Counter,
    record::{Control, ControlKind, Header, History, HistoryKind},
};

use crate::{
    counters,
    maps::{CONTROL, HISTORY},
    process::{Process, setting},
};

/// Bytes in the history ring from which userspace is woken up; below it, its timer does. A quarter
/// of the cost of an event is the wake-up. Set before loading.
#[unsafe(no_mangle)]
static WAKE_AT: u32 = 1 << 20;

const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

#[inline(always)]
fn header(kind: u32, len: usize, process: &Process, time_ns: u64) -> Header {
    Header {
        version: WIRE_VERSION,
        len: len as u16,
        kind,
        time_ns,
        proc: process.proc,
        tgid: process.tgid,
        tid: process.tid,
    }
}

/// Nanoseconds since boot.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

#[inline(always)]
pub fn history(kind: HistoryKind, process: &Process, fill: impl FnOnce(&mut History)) {
    history_at(now(), kind, process, fill);
}

#[inline(always)]
pub fn history_at(
    time_ns: u64,
    kind: HistoryKind,
    process: &Process,
    fill: impl FnOnce(&mut History),
) {
    counters::count(Counter::Events);
    let Some(mut entry) = reserve::<History>(&HISTORY) else {
        counters::count(Counter::LostHistory);
        return;
    };
    let record = entry.write(History {
        header: header(kind as u32, size_of::<History>(), process, time_ns),
        key: 0,
        owner: 0,
        requested: 0,
        charged: 0,
        address: 0,
        space: 0,
        pool: 0,
        ogen: 0,
        sequence: 0,
    });
    fill(record);
    // A failure is rare, and who held the memory at that moment is asked right after it.
    let wake = if kind as u32 == HistoryKind::Failed as u32
        || HISTORY.query(BPF_RB_AVAIL_DATA as u64) >= setting(&WAKE_AT) as u64
    {
        FORCE_WAKEUP
    } else {
        NO_WAKEUP
    };
    entry.submit(wake);
}

#[inline(always)]
pub fn control(kind: ControlKind, process: &Process, fill: impl FnOnce(&mut Control)) {
    let Some(mut entry) = reserve::<Control>(&CONTROL) else {
        counters::count(Counter::LostControl);
        return;
    };
    let record = entry.write(Control {
        header: header(kind as u32, size_of::<Control>(), process, now()),
        owner: 0,
        device: 0,
        aux: 0,
        space: 0,
        pool: 0,
        ogen: 0,
        flags: 0,
        comm: [0; 16],
    });
    fill(record);
    entry.submit(FORCE_WAKEUP);
}

#[inline(always)]
fn reserve<T: 'static>(ring: &RingBuf) -> Option<aya_ebpf::maps::ring_buf::RingBufEntry<T>> {
    ring.reserve::<T>(0)
}
