//! Allocations that are live.

use memmon_ebpf::{
    ledger::{Counter, LiveKey, LiveValue, OwnerKey, RowKey, live_flag, proc_flag},
    record::{History, HistoryKind},
    spec::{flag, reg},
};

use super::{Event, NO_EXIST, Outputs, freeing, output, owners::generation, rows};
use crate::{
    atomic, counters, emit,
    maps::{LIVE, OWNERS},
    process,
};

#[inline(never)]
pub(super) fn allocated(event: &Event, values: &Outputs, label: u32) {
    let Some(ogen) = generation(event, values) else {
        return;
    };
    let key = key(event, values);
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
        references: 0,
        label,
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
        event.process,
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
        let error = store(key, value);
        if error != 0 {
            // Its bytes count; its free will not be known.
            count_refusal(error);
            rows::inexact(row_at);
        }
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
    let missed = RowKey::of(key, before);
    let (requested, charged) = (before.requested, before.charged);
    let error = store(key, value);
    if error != 0 {
        count_refusal(error);
        rows::inexact(row_at);
    }
    if was_live {
        // Two allocations cannot have one key: the end of the first was missed.
        rows::inexact(&missed);
        rows::subtract(&missed, requested, charged);
    }
    true
}

const NO_ENTRY: i32 = -2;
const FULL: i32 = -7;
/// The kernel has little at hand for maps, and gets more in an interrupt of its own; and it gives up a lock that
/// another CPU does not let go of. A moment later it mostly works.
const ATTEMPTS: u32 = 4;

/// Returns the error; 0 where it is stored.
#[inline(never)]
pub(super) fn store(key: &LiveKey, value: &LiveValue) -> i32 {
    let mut last = 0;
    for _ in 0..ATTEMPTS {
        match LIVE.insert(key, value, 0) {
            Ok(()) => return 0,
            Err(error) => last = error,
        }
        if last == FULL {
            break;
        }
    }
    last
}

#[inline(never)]
fn remove(key: &LiveKey) -> bool {
    for _ in 0..ATTEMPTS {
        match LIVE.remove(key) {
            Ok(()) => return true,
            Err(error) if error == NO_ENTRY => return true,
            Err(_) => {}
        }
    }
    false
}

#[inline(always)]
pub(super) fn count_refusal(error: i32) {
    counters::count(if error == FULL {
        Counter::LiveFull
    } else {
        Counter::LiveRefused
    });
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

#[inline(always)]
pub(super) fn key(event: &Event, values: &Outputs) -> LiveKey {
    LiveKey {
        proc: event.process.proc,
        key: output(values, reg::KEY),
        space: event.spec.space,
        reserved: 0,
    }
}

/// The allocation ends.
#[inline(never)]
pub(super) fn end(event: &Event, key: &LiveKey) {
    let key = *key;
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
    let mut refused = false;
    if let Err(error) = LIVE.remove(&key) {
        if error == NO_ENTRY {
            return;
        }
        refused = !remove(&key);
    }
    if event.process.flags & proc_flag::RECOVERING != 0 {
        tombstone(&key);
    }
    if event.has(flag::KEEPS_FREED) {
        freeing::keep(event, &key, &value);
    }
    let row_at = RowKey::of(&key, &value);
    if refused {
        // It is free, and will stand there until its key is used again.
        counters::count(Counter::LiveRefused);
        rows::inexact(&row_at);
    }
    let sequence = rows::subtract(&row_at, value.requested, value.charged);
    emit::history(HistoryKind::Free, event.process, |record| {
        fill(record, &key, &value);
        record.sequence = sequence as u32;
    });
}

#[inline(never)]
pub(super) fn unknown(event: &Event, key: &LiveKey) {
    let flags = event.process.flags;
    if event.has(flag::KNOWN_ONLY) || event.is_covered() {
        return;
    }
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
    if event.has(flag::KEEPS_FREED) {
        // It may fail, and then it says nothing.
        return freeing::keep_unknown(event, key);
    }
    count_unknown(event, key);
}

#[inline(always)]
pub(super) fn count_unknown(event: &Event, key: &LiveKey) {
    counters::count(Counter::UnknownFrees);
    emit::history(HistoryKind::UnknownFree, event.process, |record| {
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
