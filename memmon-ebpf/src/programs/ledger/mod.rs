//! Live allocations and totals, kept where the events happen.

mod live;
mod owners;
mod pending;
mod rows;

use memmon_ebpf::{
    ledger::Counter,
    spec::{Action, ProbeSpec, REGISTERS},
};

pub use self::pending::{abandoned, forget_pending};
use self::{
    live::{allocated, freed},
    owners::{free_all, open, register},
    pending::{begin, failed, missed, missed_somewhere, take_pending},
};
use crate::{counters, process::Process};

const NO_EXIST: u64 = 1;

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
        missed_somewhere();
    } else if take_pending(&event, values, 0) && action == Action::Commit as u8 {
        missed(&event, values);
    }
}

#[inline(always)]
fn output(values: &Registers, register: u8) -> u64 {
    values[register as usize]
}
