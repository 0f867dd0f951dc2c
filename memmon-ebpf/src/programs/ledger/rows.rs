//! Totals, one row a pool of an owner.

use memmon_ebpf::{
    ledger::{Counter, RowKey, RowValue},
    spec::reg,
};

use super::{Event, NO_EXIST, Registers, output};
use crate::{atomic, counters, maps::ROWS, process};

#[inline(always)]
pub(super) fn row_key(event: &Event, values: &Registers, ogen: u32) -> RowKey {
    RowKey {
        proc: event.process.proc,
        owner: output(values, reg::OWNER),
        space: event.spec.space,
        pool: output(values, reg::POOL) as u32,
        ogen,
        reserved: 0,
    }
}

pub(super) static ZERO: RowValue = RowValue {
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
pub(super) fn row(key: &RowKey) -> Option<*mut RowValue> {
    if let Some(row) = ROWS.get_ptr_mut(key) {
        return Some(row);
    }
    new_row(key)
}

#[inline(never)]
pub(super) fn new_row(key: &RowKey) -> Option<*mut RowValue> {
    let _ = ROWS.insert(key, &ZERO, NO_EXIST);
    let row = ROWS.get_ptr_mut(key);
    if row.is_none() {
        counters::count(Counter::TableFull);
        process::doubt();
    }
    row
}

#[inline(always)]
pub(super) fn inexact(key: &RowKey) {
    if let Some(row) = row(key) {
        // SAFETY: `row` is a map value.
        unsafe {
            atomic::add(&raw mut (*row).inexact, 1);
            atomic::add(&raw mut (*row).sequence, 1);
        }
    }
}

/// Returns the row's new sequence; 0 where there is none.
#[inline(always)]
pub(super) fn subtract(key: &RowKey, requested: u64, charged: u64) -> u64 {
    let Some(row) = row(key) else {
        return 0;
    };
    // SAFETY: `row` is a map value.
    unsafe {
        atomic::add((&raw mut (*row).requested).cast(), requested.wrapping_neg());
        atomic::add((&raw mut (*row).charged).cast(), charged.wrapping_neg());
        atomic::add((&raw mut (*row).live).cast(), u64::MAX);
        atomic::add(&raw mut (*row).frees, 1);
        atomic::add(&raw mut (*row).sequence, 1)
    }
}
