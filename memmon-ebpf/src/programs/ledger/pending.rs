//! What a thread is allocating: between the attempt and its outcome.

use memmon_ebpf::{
    ledger::{Counter, OwnerKey, PendingKey, PendingValue, RowKey},
    record::HistoryKind,
    spec::reg,
};

use super::{Event, Outputs, output, owners::generation, rows};
use crate::{
    atomic, counters, emit,
    maps::{OWNERS, PENDING, ROWS},
    memory, process,
};

/// No process has this number.
pub(super) const NOTHING_PENDING: u64 = 0;

#[inline(never)]
pub(super) fn begin(event: &Event, values: &Outputs, outputs: u8) {
    let slot = memory::slot(event.spec, event.process);
    if let Some(slot) = PENDING.get_ptr_mut(&slot) {
        // SAFETY: a map value; the slot is this thread's own.
        let slot = unsafe { &mut *slot };
        if slot.proc == event.process.proc {
            // The one before neither succeeded nor failed where it was watched. It counts as failed,
            // and the row as uncertain: it may be the first part of an allocation in several.
            let before = &slot.outputs;
            failed(event, before, 0, slot.label);
            missed(event, before);
        }
        // In place: a thread's slot is made once, and no lock is taken from then on.
        slot.proc = event.process.proc;
        slot.set = outputs as u32;
        slot.label = event.spec.label;
        macro_rules! keep {
            ($($index:literal)+) => { $( slot.outputs[$index] = values[$index]; )+ };
        }
        keep!(0 1 2 3 4 5 6 7);
        return;
    }
    let value = PendingValue {
        proc: event.process.proc,
        set: outputs as u32,
        label: event.spec.label,
        outputs: [
            values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7],
        ],
    };
    if PENDING.insert(&slot, &value, 0).is_err() {
        counters::count(Counter::TableFull);
        // Its outcome will find nothing pending.
        missed(event, values);
        return;
    }
    memory::memmon_thread_has(slot.tid, slot.space);
}

/// The thread ends. What it was allocating may have been taken already, or not: its row is not
/// exact from here on. `proc_now` is 0 where its process is not known, or was the first to be forgotten:
/// of threads that are killed together, the last one tells of the end before others are through.
#[inline(never)]
pub(super) fn abandoned(proc_now: u64, tid: u32, space: u32) {
    let slot = PendingKey { tid, space };
    let Some(pending) = PENDING.get_ptr(&slot) else {
        return;
    };
    // SAFETY: a map value; the slot is this thread's own.
    let (proc, owner, pool) = unsafe {
        let outputs = &(*pending).outputs;
        (
            (*pending).proc,
            outputs[reg::OWNER as usize],
            outputs[reg::POOL as usize] as u32,
        )
    };
    let _ = PENDING.remove(&slot);
    if proc == NOTHING_PENDING || (proc_now != 0 && proc != proc_now) {
        return;
    }
    let owner_at = OwnerKey {
        proc,
        owner,
        space,
        reserved: 0,
    };
    let ogen = match OWNERS.get_ptr(&owner_at) {
        // SAFETY: a map value.
        Some(owner) => unsafe { (*owner).ogen },
        None => 0,
    };
    let row_at = RowKey {
        proc,
        owner,
        space,
        pool,
        ogen,
        reserved: 0,
    };
    if proc_now != 0 {
        rows::inexact(&row_at);
    } else if let Some(row) = ROWS.get_ptr_mut(&row_at) {
        // Only a row that is there: nobody would take away a new one.
        // SAFETY: a map value.
        unsafe {
            atomic::add(&raw mut (*row).inexact, 1);
            atomic::add(&raw mut (*row).sequence, 1);
        }
    }
}

/// Takes what is pending on this thread; outputs that are not in `set` become its. Returns the label of the function that
/// began it.
#[inline(always)]
pub(super) fn take_pending(event: &Event, values: &mut Outputs, set: u8) -> Option<u32> {
    let slot = memory::slot(event.spec, event.process);
    let pending = PENDING.get_ptr_mut(&slot)?;
    // SAFETY: a map value; the slot is this thread's own.
    unsafe {
        if (*pending).proc != event.process.proc {
            return None;
        }
        copy_pending(pending, values, set);
        (*pending).proc = NOTHING_PENDING;
        Some((*pending).label)
    }
}

#[inline(always)]
pub(super) unsafe fn copy_pending(pending: *const PendingValue, values: &mut Outputs, set: u8) {
    // Unrolled, so that every access is at a known place.
    macro_rules! copy {
        ($($index:literal)+) => { $(
            if set & (1 << $index) == 0 {
                // SAFETY: the caller's.
                values[$index] = unsafe { (*pending).outputs[$index] };
            }
        )+ };
    }
    copy!(0 1 2 3 4 5 6 7);
}

/// An allocation of which not even the owner is known: none of the process's numbers is sure.
#[inline(never)]
pub(super) fn missed_somewhere() {
    process::doubt();
}

/// An allocation that took place, but about which not enough is known to count it.
#[inline(never)]
pub(super) fn missed(event: &Event, values: &Outputs) {
    if let Some(ogen) = generation(event, values) {
        rows::inexact(&rows::row_key(event, values, ogen));
    }
}

#[inline(never)]
pub(super) fn failed(event: &Event, values: &Outputs, error: u64, label: u32) {
    let Some(ogen) = generation(event, values) else {
        return;
    };
    let requested = output(values, reg::REQUESTED);
    let mut sequence = 0;
    if let Some(row) = rows::row(&rows::row_key(event, values, ogen)) {
        // SAFETY: `row` is a map value.
        sequence = unsafe {
            atomic::add(&raw mut (*row).failed, 1);
            atomic::add(&raw mut (*row).failed_bytes, requested);
            atomic::add(&raw mut (*row).sequence, 1)
        };
    }
    emit::history(HistoryKind::Failed, event.process, |record| {
        record.key = error;
        record.owner = output(values, reg::OWNER);
        record.requested = requested;
        record.charged = output(values, reg::CHARGED);
        record.address = label as u64;
        record.space = event.spec.space;
        record.pool = output(values, reg::POOL) as u32;
        record.ogen = ogen;
        record.sequence = sequence as u32;
    });
}
