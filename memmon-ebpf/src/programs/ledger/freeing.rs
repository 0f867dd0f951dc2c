//! Frees that may fail. What is freed is taken out at the entry of the call: once it returns, the key may be another
//! thread's. Where the call fails, it is put back.

use memmon_ebpf::{
    ledger::{Counter, FreedValue, LiveKey, LiveValue, PendingKey, RowKey, freed},
    record::HistoryKind,
};

use super::{Event, live, pending::NOTHING_PENDING, references, rows};
use crate::{atomic, counters, emit, maps::FREED, memory};

static NOTHING_FREED: FreedValue = FreedValue {
    proc: NOTHING_PENDING,
    key: 0,
    what: freed::ENDED,
    value: LiveValue {
        owner: 0,
        requested: 0,
        charged: 0,
        address: 0,
        since_ns: 0,
        pool: 0,
        ogen: 0,
        tid: 0,
        flags: 0,
        references: 0,
        label: 0,
    },
};

/// The thread's own; made once, and filled in place: the stack has no room for it.
#[inline(never)]
fn kept(slot: &PendingKey) -> Option<*mut FreedValue> {
    if let Some(kept) = FREED.get_ptr_mut(slot) {
        return Some(kept);
    }
    if FREED.insert(slot, &NOTHING_FREED, 0).is_err() {
        counters::count(Counter::TableFull);
        return None;
    }
    memory::memmon_thread_has(slot.tid, slot.space);
    FREED.get_ptr_mut(slot)
}

#[inline(always)]
fn keep_as(event: &Event, key: &LiveKey, what: u64) -> Option<*mut FreedValue> {
    let kept = kept(&memory::slot(event.spec, event.process))?;
    // SAFETY: a map value; the slot is this thread's own.
    unsafe {
        (*kept).proc = key.proc;
        (*kept).key = key.key;
        (*kept).what = what;
    }
    Some(kept)
}

/// Should it fail where there was no room for this, what it named will be missing.
#[inline(never)]
pub(super) fn keep(event: &Event, key: &LiveKey, value: &LiveValue) {
    if let Some(kept) = keep_as(event, key, freed::ENDED) {
        // SAFETY: as above.
        unsafe { (*kept).value = *value };
    }
}

/// Nothing of this key is known: should the call succeed, that is a missed past.
#[inline(never)]
pub(super) fn keep_unknown(event: &Event, key: &LiveKey) {
    if keep_as(event, key, freed::UNKNOWN).is_none() {
        live::count_unknown(event, key);
    }
}

/// One reference of several went.
#[inline(never)]
pub(super) fn keep_released(event: &Event, key: &LiveKey) {
    keep_as(event, key, freed::RELEASED);
}

/// The call has returned.
#[inline(never)]
pub(super) fn returned(event: &Event, succeeded: bool) {
    let slot = memory::slot(event.spec, event.process);
    let Some(kept) = FREED.get_ptr_mut(&slot) else {
        return;
    };
    // SAFETY: a map value; the slot is this thread's own.
    let kept = unsafe { &mut *kept };
    if kept.proc != event.process.proc {
        return;
    }
    kept.proc = NOTHING_PENDING;
    if !succeeded {
        counters::count(Counter::FailedFrees);
    }
    let key = LiveKey {
        proc: event.process.proc,
        key: kept.key,
        space: event.spec.space,
        reserved: 0,
    };
    if kept.what == freed::UNKNOWN {
        if succeeded {
            live::count_unknown(event, &key);
        }
    } else if !succeeded {
        if kept.what == freed::RELEASED {
            references::take(&key);
        } else {
            put_back(event, &key, &kept.value);
        }
    }
}

#[inline(always)]
fn put_back(event: &Event, key: &LiveKey, value: &LiveValue) {
    let row_at = RowKey::of(key, value);
    // Over the trace that the free left, where its process was being recovered.
    let error = live::store(key, value);
    if error != 0 {
        live::count_refusal(error);
        rows::inexact(&row_at);
    }
    let mut sequence = 0;
    if let Some(row) = rows::row(&row_at) {
        // SAFETY: `row` is a map value.
        sequence = unsafe {
            atomic::add((&raw mut (*row).requested).cast(), value.requested);
            atomic::add((&raw mut (*row).charged).cast(), value.charged);
            atomic::add((&raw mut (*row).live).cast(), 1);
            atomic::add(&raw mut (*row).frees, u64::MAX);
            atomic::add(&raw mut (*row).sequence, 1)
        };
    }
    emit::history(HistoryKind::Unfreed, event.process, |record| {
        live::fill(record, key, value);
        record.sequence = sequence as u32;
    });
}
