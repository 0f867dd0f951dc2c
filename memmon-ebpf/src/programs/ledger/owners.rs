//! Who holds memory in a process, and everything it holds at once.

use memmon_ebpf::{
    ledger::{Counter, OwnerKey, OwnerValue, owner_flag, proc_flag},
    record::{ControlKind, HistoryKind},
    spec::{flag, reg},
};

use super::{Event, NO_EXIST, Outputs, output, rows};
use crate::{
    atomic, counters, emit,
    maps::{OWNERS, PROCS},
    process,
};

/// The owner's generation, making its acquaintance where needed. None where its memory is not this
/// process's: an allocator that a forked child inherited.
#[inline(always)]
pub(super) fn generation(event: &Event, values: &Outputs) -> Option<u32> {
    let key = OwnerKey {
        proc: event.process.proc,
        owner: output(values, reg::OWNER),
        space: event.spec.space,
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
        process::doubt();
        return None;
    }
    if device != 0 {
        seen(event, values, 0);
    }
    Some(0)
}

#[inline(never)]
pub(super) fn seen(event: &Event, values: &Outputs, ogen: u32) {
    emit::control(ControlKind::OwnerSeen, event.process, |record| {
        record.owner = output(values, reg::OWNER);
        record.device = output(values, reg::DEVICE);
        record.aux = output(values, reg::AUX);
        record.space = event.spec.space;
        record.pool = output(values, reg::POOL) as u32;
        record.ogen = ogen;
    });
}

#[inline(never)]
pub(super) fn free_all(event: &Event, values: &Outputs) {
    let key = OwnerKey {
        proc: event.process.proc,
        owner: output(values, reg::OWNER),
        space: event.spec.space,
        reserved: 0,
    };
    let Some(found) = OWNERS.get_ptr_mut(&key) else {
        if event.process.flags & proc_flag::RECOVERING != 0 {
            // What the walk may still find of it is gone.
            let value = OwnerValue {
                ogen: 1,
                ..Default::default()
            };
            if OWNERS.insert(&key, &value, NO_EXIST).is_err() && OWNERS.get_ptr(&key).is_none() {
                counters::count(Counter::TableFull);
                process::doubt();
            }
        }
        return;
    };
    // Rows of the generation that ends hold nothing from here on. Nothing is scanned.
    // SAFETY: `found` is a map value.
    let ended = unsafe {
        let ended = (*found).ogen;
        (*found).ogen = ended.wrapping_add(1);
        // What comes next at this address may be on another device.
        (*found).device = 0;
        ended
    };
    emit::control(ControlKind::FreeAll, event.process, |record| {
        record.owner = key.owner;
        record.space = key.space;
        record.ogen = ended;
    });
}

#[inline(never)]
pub(super) fn open(event: &Event, values: &Outputs) {
    let key = OwnerKey {
        proc: event.process.proc,
        owner: output(values, reg::OWNER),
        space: event.spec.space,
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
    if event.spec.flags & flag::STARTS_PROCESS != 0 {
        if let Some(known) = PROCS.get_ptr_mut(&event.process.tgid) {
            // SAFETY: a map value. Set once, before the process has threads that allocate.
            unsafe { (*known).flags |= proc_flag::STARTED };
        }
    }
    emit::control(ControlKind::OwnerOpen, event.process, |record| {
        record.owner = key.owner;
        record.space = key.space;
        record.pool = output(values, reg::POOL) as u32;
        record.ogen = ogen;
    });
}

#[inline(never)]
pub(super) fn register(event: &Event, values: &Outputs) {
    let Some(ogen) = generation(event, values) else {
        return;
    };
    let requested = output(values, reg::REQUESTED);
    let mut sequence = 0;
    if let Some(row) = rows::row(&rows::row_key(event, values, ogen)) {
        // SAFETY: `row` is a map value.
        sequence = unsafe {
            atomic::add((&raw mut (*row).requested).cast(), requested);
            atomic::add((&raw mut (*row).live).cast(), 1);
            atomic::add(&raw mut (*row).allocations, 1);
            atomic::add(&raw mut (*row).sequence, 1)
        };
    }
    emit::history(HistoryKind::Register, event.process, |record| {
        record.owner = output(values, reg::OWNER);
        record.requested = requested;
        record.address = output(values, reg::ADDRESS);
        record.space = event.spec.space;
        record.pool = output(values, reg::POOL) as u32;
        record.ogen = ogen;
        record.sequence = sequence as u32;
    });
}
