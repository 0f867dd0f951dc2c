//! Allocations that are live.

use memmon_ebpf::{
    ledger::{Counter, LiveKey, LiveValue, OwnerKey, RowKey, live_flag, proc_flag},
    record::{History, HistoryKind},
    spec::reg,
};

use super::{Event, NO_EXIST, Registers, output, owners::generation, rows};
use crate::{
    atomic, counters, emit,
    maps::{LIVE, OWNERS},
    process,
};

#[inline(never)]
pub(super) fn allocated(event: &Event, values: &Registers) {
    let Some(ogen) = generation(event, values) else {
        return;
    };
    let key = LiveKey {
        proc: event.process.proc,
        key: output(values, reg::KEY),
        space: event.space,
        reserved: 0,
    };
    let requested = output(values, reg::REQUESTED);
    let charged = output(values, reg::CHARGED);
    let value = LiveValue {
        owner: output(values, reg::OWNER),
        requested,
        charged,
        address: output(values, reg::ADDRESS),
        since_ns: emit::now(),
        pool: output(values, reg::POOL) as u32,
        ogen,
        tid: event.process.tid,
        flags: 0,
    };
    let row_at = rows::row_key(event, values, ogen);
    if LIVE.insert(&key, &value, NO_EXIST).is_err() && !replace(&key, &value, &row_at) {
        return;
    }
    let mut sequence = 0;
    if let Some(row) = rows::row(&row_at) {
        // SAFETY: `row` is a map value.
        sequence = unsafe {
            atomic::add((&raw mut (*row).requested).cast(), requested);
            let charged = atomic::add((&raw mut (*row).charged).cast(), charged);
            atomic::raise(&raw mut (*row).peak_charged, charged as i64);
            atomic::add((&raw mut (*row).live).cast(), 1);
            atomic::add(&raw mut (*row).allocations, 1);
            atomic::add(&raw mut (*row).sequence, 1)
        };
    }
    emit::history_at(
        value.since_ns,
        HistoryKind::Alloc,
        &event.process,
        |record| {
            fill(record, &key, &value);
            record.sequence = sequence as u32;
        },
    );
}

/// The key is taken, or the map is full. False where the allocation is counted already.
#[inline(never)]
pub(super) fn replace(key: &LiveKey, value: &LiveValue, row_at: &RowKey) -> bool {
    let Some(before) = LIVE.get_ptr_mut(key) else {
        // Its bytes count; its free will not be known.
        counters::count(Counter::LiveFull);
        rows::inexact(row_at);
        return true;
    };
    // SAFETY: a map value; the key is this process's own.
    let before = unsafe { &mut *before };
    if before.flags & live_flag::RECOVERED != 0 && is_same(before, value) {
        // The walk was faster: it found the allocation before it was committed.
        before.flags &= !live_flag::RECOVERED;
        return false;
    }
    let was_live = before.flags & live_flag::TOMBSTONE == 0 && is_held(key, before);
    let missed = RowKey {
        proc: key.proc,
        owner: before.owner,
        space: key.space,
        pool: before.pool,
        ogen: before.ogen,
        reserved: 0,
    };
    let (requested, charged) = (before.requested, before.charged);
    if LIVE.insert(key, value, 0).is_err() {
        counters::count(Counter::LiveFull);
        rows::inexact(row_at);
    }
    if was_live {
        // Two allocations cannot have one key: the end of the first was missed.
        rows::inexact(&missed);
        rows::subtract(&missed, requested, charged);
    }
    true
}

#[inline(always)]
pub(super) fn is_same(one: &LiveValue, other: &LiveValue) -> bool {
    one.owner == other.owner
        && one.pool == other.pool
        && one.ogen == other.ogen
        && one.requested == other.requested
        && one.charged == other.charged
}

/// Whether its owner has not freed everything since.
#[inline(always)]
pub(super) fn is_held(key: &LiveKey, value: &LiveValue) -> bool {
    let owner = OwnerKey {
        proc: key.proc,
        owner: value.owner,
        space: key.space,
        reserved: 0,
    };
    match OWNERS.get_ptr(&owner) {
        // SAFETY: a map value.
        Some(owner) => unsafe { (*owner).ogen == value.ogen },
        None => true,
    }
}

#[inline(never)]
pub(super) fn freed(event: &Event, values: &Registers) {
    let key = LiveKey {
        proc: event.process.proc,
        key: output(values, reg::KEY),
        space: event.space,
        reserved: 0,
    };
    let Some(found) = LIVE.get_ptr(&key) else {
        return unknown(event, &key);
    };
    // SAFETY: a map value; the key is this process's own.
    let value = unsafe { *found };
    if value.flags & live_flag::TOMBSTONE != 0 {
        if event.process.flags & proc_flag::RECOVERING == 0 {
            // Left from a recovery that is over: this free is of something else.
            let _ = LIVE.remove(&key);
            unknown(event, &key);
        }
        return;
    }
    // Whoever removes it accounts for it: two threads may free at once.
    if LIVE.remove(&key).is_err() {
        return;
    }
    if event.process.flags & proc_flag::RECOVERING != 0 {
        tombstone(&key);
    }
    let row_at = RowKey {
        proc: key.proc,
        owner: value.owner,
        space: key.space,
        pool: value.pool,
        ogen: value.ogen,
        reserved: 0,
    };
    let sequence = rows::subtract(&row_at, value.requested, value.charged);
    emit::history(HistoryKind::Free, &event.process, |record| {
        fill(record, &key, &value);
        record.sequence = sequence as u32;
    });
}

#[inline(never)]
pub(super) fn unknown(event: &Event, key: &LiveKey) {
    let flags = event.process.flags;
    if flags & proc_flag::FORKED != 0 {
        counters::count(Counter::InheritedFrees);
        return;
    }
    if flags & proc_flag::RECOVERING != 0 {
        return tombstone(key);
    }
    if flags & proc_flag::UNREAD != 0 {
        return;
    }
    counters::count(Counter::UnknownFrees);
    emit::history(HistoryKind::UnknownFree, &event.process, |record| {
        record.key = key.key;
        record.space = key.space;
    });
}

/// While a process is being recovered, what is freed must not be recovered afterwards.
#[inline(never)]
pub(super) fn tombstone(key: &LiveKey) {
    let value = LiveValue {
        flags: live_flag::TOMBSTONE,
        ..Default::default()
    };
    if LIVE.insert(key, &value, NO_EXIST).is_err() && LIVE.get_ptr(key).is_none() {
        counters::count(Counter::LiveFull);
        process::doubt();
    }
}

#[inline(always)]
pub(super) fn fill(record: &mut History, key: &LiveKey, value: &LiveValue) {
    record.key = key.key;
    record.owner = value.owner;
    record.requested = value.requested;
    record.charged = value.charged;
    record.address = value.address;
    record.space = key.space;
    record.pool = value.pool;
    record.ogen = value.ogen;
}
