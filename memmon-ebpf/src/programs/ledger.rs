//! Live allocations and totals, kept where the events happen.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use memmon_ebpf::{
    ledger::{
        Counter, LiveKey, LiveValue, OwnerKey, OwnerValue, PendingKey, PendingValue, RowKey,
        RowValue, live_flag, owner_flag, proc_flag,
    },
    record::{ControlKind, History, HistoryKind},
    spec::{Action, ProbeSpec, REGISTERS, flag, reg},
};

use crate::{
    atomic, counters, emit,
    maps::{LIVE, OWNERS, PENDING, PROCS, ROWS},
    process::Process,
};

const NO_EXIST: u64 = 1;
/// No process has this number.
const NOTHING_PENDING: u64 = 0;

type Registers = [u64; REGISTERS];

/// What `apply` hands on: little enough for five argument registers, by reference.
#[derive(Clone, Copy)]
struct Event {
    process: Process,
    space: u32,
    /// `ProbeSpec::flags`
    flags: u16,
}

#[inline(always)]
pub fn apply(spec: &ProbeSpec, process: &Process, values: &mut Registers, succeeded: bool) {
    let event = Event {
        process: *process,
        space: spec.space,
        flags: spec.flags,
    };
    let action = spec.action;
    if action == Action::Begin as u8 {
        begin(&event, values, spec.outputs);
    } else if action == Action::Commit as u8 {
        // A call that failed ended the program early: what it did not reach is the attempt's.
        let set = if succeeded { spec.outputs } else { 0 };
        if !take_pending(&event, values, set) {
            return;
        }
        if succeeded {
            allocated(&event, values);
        } else {
            failed(&event, values);
        }
    } else if action == Action::Fail as u8 {
        if take_pending(&event, values, 0) {
            failed(&event, values);
        }
    } else if action == Action::Alloc as u8 {
        if succeeded {
            allocated(&event, values);
        } else {
            failed(&event, values);
        }
    } else if action == Action::Free as u8 {
        if succeeded {
            freed(&event, values);
        }
    } else if action == Action::FreeAll as u8 {
        free_all(&event, values);
    } else if action == Action::OwnerOpen as u8 {
        open(&event, values);
    } else if action == Action::Register as u8 {
        register(&event, values);
    } else {
        counters::count(Counter::BadSpecs);
    }
}

/// A probe's program could not read what it needed.
#[inline(always)]
pub fn unreadable(spec: &ProbeSpec, process: &Process, values: &mut Registers) {
    let event = Event {
        process: *process,
        space: spec.space,
        flags: spec.flags,
    };
    let action = spec.action;
    let allocates = action == Action::Begin as u8
        || action == Action::Alloc as u8
        || action == Action::Register as u8;
    if allocates {
        missed_somewhere(&event);
    } else if take_pending(&event, values, 0) && action == Action::Commit as u8 {
        missed(&event, values);
    }
}

/// An allocation of which not even the owner is known: none of the process's numbers is sure.
#[inline(never)]
fn missed_somewhere(event: &Event) {
    if let Some(known) = PROCS.get_ptr_mut(&event.process.tgid) {
        // SAFETY: a map value; the flag is only ever set, by whichever thread.
        unsafe { (*known).flags |= proc_flag::INEXACT };
    }
}

/// An allocation that took place, but about which not enough is known to count it.
#[inline(never)]
fn missed(event: &Event, values: &Registers) {
    if let Some(ogen) = generation(event, values) {
        inexact(&row_key(event, values, ogen));
    }
}

#[inline(never)]
fn begin(event: &Event, values: &Registers, outputs: u8) {
    let slot = PendingKey {
        tid: event.process.tid,
        space: event.space,
    };
    if let Some(slot) = PENDING.get_ptr_mut(&slot) {
        // SAFETY: a map value; the slot is this thread's own.
        let slot = unsafe { &mut *slot };
        if slot.proc == event.process.proc {
            // The one before neither succeeded nor failed where it was watched. It counts as failed,
            // and the row as uncertain: it may be the first part of an allocation in several.
            let mut before = crate::interpreter::registers();
            // SAFETY: as above.
            unsafe { copy_pending(slot, &mut before, 0) };
            failed(event, &before);
            missed(event, &before);
        }
        // In place: a thread's slot is made once, and no lock is taken from then on.
        slot.proc = event.process.proc;
        slot.set = outputs as u64;
        macro_rules! keep {
            ($($index:literal)+) => { $( slot.outputs[$index] = values[$index]; )+ };
        }
        keep!(0 1 2 3 4 5 6 7);
        return;
    }
    let value = PendingValue {
        proc: event.process.proc,
        set: outputs as u64,
        outputs: [
            values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7],
        ],
    };
    if PENDING.insert(&slot, &value, 0).is_err() {
        counters::count(Counter::TableFull);
    }
}

/// The thread ends. What it was allocating may have been taken already, or not: its row is not
/// exact from here on.
#[inline(never)]
pub fn abandoned(process: &Process, space: u32) {
    let slot = PendingKey {
        tid: process.tid,
        space,
    };
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
    if proc != process.proc {
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
    inexact(&RowKey {
        proc,
        owner,
        space,
        pool,
        ogen,
        reserved: 0,
    });
}

/// Takes what is pending on this thread; outputs that are not in `set` become its.
#[inline(always)]
fn take_pending(event: &Event, values: &mut Registers, set: u8) -> bool {
    let slot = PendingKey {
        tid: event.process.tid,
        space: event.space,
    };
    let Some(pending) = PENDING.get_ptr_mut(&slot) else {
        return false;
    };
    // SAFETY: a map value; the slot is this thread's own.
    unsafe {
        if (*pending).proc != event.process.proc {
            return false;
        }
        copy_pending(pending, values, set);
        (*pending).proc = NOTHING_PENDING;
    }
    true
}

#[inline(always)]
unsafe fn copy_pending(pending: *const PendingValue, values: &mut Registers, set: u8) {
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

#[inline(always)]
fn output(values: &Registers, register: u8) -> u64 {
    values[register as usize]
}

#[inline(always)]
fn row_key(event: &Event, values: &Registers, ogen: u32) -> RowKey {
    RowKey {
        proc: event.process.proc,
        owner: output(values, reg::OWNER),
        space: event.space,
        pool: output(values, reg::POOL) as u32,
        ogen,
        reserved: 0,
    }
}

static ZERO: RowValue = RowValue {
    requested: 0,
    charged: 0,
    peak_charged: 0,
    live: 0,
    allocations: 0,
    frees: 0,
    failed: 0,
    failed_bytes: 0,
    inexact: 0,
    sequence: 0,
};

#[inline(always)]
fn row(key: &RowKey) -> Option<*mut RowValue> {
    if let Some(row) = ROWS.get_ptr_mut(key) {
        return Some(row);
    }
    new_row(key)
}

#[inline(never)]
fn new_row(key: &RowKey) -> Option<*mut RowValue> {
    let _ = ROWS.insert(key, &ZERO, NO_EXIST);
    let row = ROWS.get_ptr_mut(key);
    if row.is_none() {
        counters::count(Counter::TableFull);
    }
    row
}

#[inline(always)]
fn inexact(key: &RowKey) {
    if let Some(row) = row(key) {
        // SAFETY: `row` is a map value.
        unsafe {
            atomic::add(&raw mut (*row).inexact, 1);
            atomic::add(&raw mut (*row).sequence, 1);
        }
    }
}

/// The owner's generation, making its acquaintance where needed. None where its memory is not this
/// process's: an allocator that a forked child inherited.
#[inline(always)]
fn generation(event: &Event, values: &Registers) -> Option<u32> {
    let key = OwnerKey {
        proc: event.process.proc,
        owner: output(values, reg::OWNER),
        space: event.space,
        reserved: 0,
    };
    let device = output(values, reg::DEVICE);
    if let Some(owner) = OWNERS.get_ptr_mut(&key) {
        // SAFETY: `owner` is a map value.
        let owner = unsafe { &mut *owner };
        if owner.device == 0 && device != 0 {
            owner.device = device;
            owner.aux = output(values, reg::AUX);
            seen(event, values, owner.ogen);
        }
        return Some(owner.ogen);
    }
    if event.process.flags & proc_flag::FORKED != 0 {
        return None;
    }
    let value = OwnerValue {
        ogen: 0,
        flags: 0,
        device,
        aux: output(values, reg::AUX),
    };
    if OWNERS.insert(&key, &value, 0).is_err() {
        counters::count(Counter::TableFull);
        return None;
    }
    if device != 0 {
        seen(event, values, 0);
    }
    Some(0)
}

#[inline(never)]
fn seen(event: &Event, values: &Registers, ogen: u32) {
    emit::control(ControlKind::OwnerSeen, &event.process, |record| {
        record.owner = output(values, reg::OWNER);
        record.device = output(values, reg::DEVICE);
        record.aux = output(values, reg::AUX);
        record.space = event.space;
        record.pool = output(values, reg::POOL) as u32;
        record.ogen = ogen;
    });
}

#[inline(never)]
fn allocated(event: &Event, values: &Registers) {
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
        // SAFETY: no arguments.
        since_ns: unsafe { bpf_ktime_get_boot_ns() },
        pool: output(values, reg::POOL) as u32,
        ogen,
        tid: event.process.tid,
        flags: 0,
    };
    let row_at = row_key(event, values, ogen);
    if LIVE.insert(&key, &value, NO_EXIST).is_err() && !replace(&key, &value, &row_at) {
        return;
    }
    if let Some(row) = row(&row_at) {
        // SAFETY: `row` is a map value.
        unsafe {
            atomic::add((&raw mut (*row).requested).cast(), requested);
            let charged = atomic::add((&raw mut (*row).charged).cast(), charged);
            atomic::raise(&raw mut (*row).peak_charged, charged as i64);
            atomic::add((&raw mut (*row).live).cast(), 1);
            atomic::add(&raw mut (*row).allocations, 1);
            atomic::add(&raw mut (*row).sequence, 1);
        }
    }
    emit::history(HistoryKind::Alloc, &event.process, |record| {
        fill(record, &key, &value);
    });
}

/// The key is taken, or the map is full. False where the allocation is counted already.
#[inline(never)]
fn replace(key: &LiveKey, value: &LiveValue, row_at: &RowKey) -> bool {
    let Some(before) = LIVE.get_ptr_mut(key) else {
        // Its bytes count; its free will not be known.
        counters::count(Counter::LiveFull);
        inexact(row_at);
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
        inexact(row_at);
    }
    if was_live {
        // Two allocations cannot have one key: the end of the first was missed.
        inexact(&missed);
        subtract(&missed, requested, charged);
    }
    true
}

#[inline(always)]
fn is_same(one: &LiveValue, other: &LiveValue) -> bool {
    one.owner == other.owner
        && one.pool == other.pool
        && one.ogen == other.ogen
        && one.requested == other.requested
        && one.charged == other.charged
}

/// Whether its owner has not freed everything since.
#[inline(always)]
fn is_held(key: &LiveKey, value: &LiveValue) -> bool {
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
fn subtract(key: &RowKey, requested: u64, charged: u64) {
    if let Some(row) = row(key) {
        // SAFETY: `row` is a map value.
        unsafe {
            atomic::add((&raw mut (*row).requested).cast(), requested.wrapping_neg());
            atomic::add((&raw mut (*row).charged).cast(), charged.wrapping_neg());
            atomic::add((&raw mut (*row).live).cast(), u64::MAX);
            atomic::add(&raw mut (*row).frees, 1);
            atomic::add(&raw mut (*row).sequence, 1);
        }
    }
}

#[inline(never)]
fn freed(event: &Event, values: &Registers) {
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
    subtract(&row_at, value.requested, value.charged);
    emit::history(HistoryKind::Free, &event.process, |record| {
        fill(record, &key, &value);
    });
}

#[inline(never)]
fn unknown(event: &Event, key: &LiveKey) {
    let flags = event.process.flags;
    if flags & proc_flag::FORKED != 0 {
        counters::count(Counter::InheritedFrees);
        return;
    }
    if flags & proc_flag::RECOVERING != 0 {
        return tombstone(key);
    }
    counters::count(Counter::UnknownFrees);
    emit::history(HistoryKind::UnknownFree, &event.process, |record| {
        record.key = key.key;
        record.space = key.space;
    });
}

/// While a process is being recovered, what is freed must not be recovered afterwards.
#[inline(never)]
fn tombstone(key: &LiveKey) {
    let value = LiveValue {
        flags: live_flag::TOMBSTONE,
        ..Default::default()
    };
    let _ = LIVE.insert(key, &value, NO_EXIST);
}

#[inline(never)]
fn failed(event: &Event, values: &Registers) {
    let Some(ogen) = generation(event, values) else {
        return;
    };
    let requested = output(values, reg::REQUESTED);
    if let Some(row) = row(&row_key(event, values, ogen)) {
        // SAFETY: `row` is a map value.
        unsafe {
            atomic::add(&raw mut (*row).failed, 1);
            atomic::add(&raw mut (*row).failed_bytes, requested);
            atomic::add(&raw mut (*row).sequence, 1);
        }
    }
    emit::history(HistoryKind::Failed, &event.process, |record| {
        record.owner = output(values, reg::OWNER);
        record.requested = requested;
        record.charged = output(values, reg::CHARGED);
        record.space = event.space;
        record.pool = output(values, reg::POOL) as u32;
        record.ogen = ogen;
    });
}

#[inline(never)]
fn free_all(event: &Event, values: &Registers) {
    let key = OwnerKey {
        proc: event.process.proc,
        owner: output(values, reg::OWNER),
        space: event.space,
        reserved: 0,
    };
    let Some(found) = OWNERS.get_ptr_mut(&key) else {
        if event.process.flags & proc_flag::RECOVERING != 0 {
            // What the walk may still find of it is gone.
            let value = OwnerValue {
                ogen: 1,
                ..Default::default()
            };
            let _ = OWNERS.insert(&key, &value, NO_EXIST);
        }
        return;
    };
    // Rows of the generation that ends hold nothing from here on. Nothing is scanned.
    // SAFETY: `found` is a map value.
    let ended = unsafe {
        let ended = (*found).ogen;
        (*found).ogen = ended.wrapping_add(1);
        ended
    };
    emit::control(ControlKind::FreeAll, &event.process, |record| {
        record.owner = key.owner;
        record.space = key.space;
        record.ogen = ended;
    });
}

#[inline(never)]
fn open(event: &Event, values: &Registers) {
    let key = OwnerKey {
        proc: event.process.proc,
        owner: output(values, reg::OWNER),
        space: event.space,
        reserved: 0,
    };
    // The address may have been another owner's.
    let ogen = match OWNERS.get_ptr(&key) {
        // SAFETY: a map value.
        Some(before) => unsafe { (*before).ogen }.wrapping_add(1),
        None => 0,
    };
    let value = OwnerValue {
        ogen,
        flags: owner_flag::OPENED,
        device: 0,
        aux: 0,
    };
    if OWNERS.insert(&key, &value, 0).is_err() {
        counters::count(Counter::TableFull);
    }
    if event.flags & flag::STARTS_PROCESS != 0 {
        if let Some(known) = PROCS.get_ptr_mut(&event.process.tgid) {
            // SAFETY: a map value. Set once, before the process has threads that allocate.
            unsafe { (*known).flags |= proc_flag::STARTED };
        }
    }
    emit::control(ControlKind::OwnerOpen, &event.process, |record| {
        record.owner = key.owner;
        record.space = key.space;
        record.pool = output(values, reg::POOL) as u32;
        record.ogen = ogen;
    });
}

#[inline(never)]
fn register(event: &Event, values: &Registers) {
    let Some(ogen) = generation(event, values) else {
        return;
    };
    let requested = output(values, reg::REQUESTED);
    if let Some(row) = row(&row_key(event, values, ogen)) {
        // SAFETY: `row` is a map value.
        unsafe {
            atomic::add((&raw mut (*row).requested).cast(), requested);
            atomic::add((&raw mut (*row).live).cast(), 1);
            atomic::add(&raw mut (*row).allocations, 1);
            atomic::add(&raw mut (*row).sequence, 1);
        }
    }
    emit::history(HistoryKind::Register, &event.process, |record| {
        record.owner = output(values, reg::OWNER);
        record.requested = requested;
        record.address = output(values, reg::ADDRESS);
        record.space = event.space;
        record.pool = output(values, reg::POOL) as u32;
        record.ogen = ogen;
    });
}

#[inline(always)]
fn fill(record: &mut History, key: &LiveKey, value: &LiveValue) {
    record.key = key.key;
    record.owner = value.owner;
    record.requested = value.requested;
    record.charged = value.charged;
    record.address = value.address;
    record.space = key.space;
    record.pool = value.pool;
    record.ogen = value.ogen;
}
