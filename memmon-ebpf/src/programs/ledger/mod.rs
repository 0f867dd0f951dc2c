//! Live allocations and totals, kept where the events happen.

mod freeing;
mod layers;
mod live;
mod owners;
mod pending;
mod references;
mod rows;
mod threads;

use memmon_ebpf::{
    ledger::Counter,
    spec::{Action, ProbeSpec, REGISTERS, flag, reg},
};

pub use self::threads::{forget_thread, thread_ended};
use self::{
    freeing::returned,
    layers::{called_from, enter, enter_counted, leave},
    live::{allocated, end},
    owners::{free_all, open, register},
    pending::{begin, failed, missed, missed_somewhere, take_pending},
    references::{is_last, take},
};
use crate::{counters, memory, process::Process};

const NO_EXIST: u64 = 1;

type Registers = [u64; REGISTERS];
/// The first of them.
type Outputs = [u64; reg::OUTPUTS as usize];

/// What `apply` hands on: little enough for five argument registers, by reference. Frames add up, and the stack is small.
#[derive(Clone, Copy)]
struct Event<'a> {
    process: &'a Process,
    spec: &'a ProbeSpec,
}

impl Event<'_> {
    /// Whether another runtime of its family counts in this process.
    #[inline(always)]
    fn is_covered(&self) -> bool {
        self.spec.covered_by & self.process.present != 0
    }

    #[inline(always)]
    fn has(&self, flag: u16) -> bool {
        self.spec.flags & flag != 0
    }

    /// The call's error code; 0 where it is not known.
    #[inline(always)]
    fn error(&self, values: &Outputs) -> u64 {
        if self.has(flag::HAS_ERROR) {
            values[reg::ERROR as usize]
        } else {
            0
        }
    }
}

#[inline(always)]
pub fn apply(spec: &ProbeSpec, process: &Process, values: &mut Registers, succeeded: bool) {
    let event = Event { process, spec };
    let values = outputs(values);
    let action = spec.action;
    if action >= Action::Note as u8 {
        if succeeded {
            memory::remember(spec, process, values);
        }
        return;
    }
    // Every part is called in one place: each place that calls is verified anew.
    let covered = event.is_covered();
    if event.has(flag::LAYERED) && !covered {
        enter_counted(&event, action);
    }
    if action == Action::Begin as u8 {
        if covered {
            enter(&event);
        }
        begin(&event, values, spec.outputs);
        return;
    }
    let commits = action == Action::Commit as u8;
    if commits || action == Action::Fail as u8 || action == Action::Alloc as u8 {
        let error = event.error(values);
        let mut label = spec.label;
        if action != Action::Alloc as u8 {
            // A call that failed ended the program early: what it did not reach is the attempt's.
            let set = if succeeded && commits {
                spec.outputs
            } else {
                0
            };
            match take_pending(&event, values, set) {
                Some(begun) => label = begun,
                None => return,
            }
        }
        let succeeded = succeeded && action != Action::Fail as u8;
        if covered {
            // What came to the layer that counts is counted there. Else nobody tells of it but this one.
            let arrived = leave(&event, label) || action == Action::Alloc as u8;
            if arrived || (succeeded && !event.has(flag::PASSES)) {
                return;
            }
        }
        let label = called_from(&event, label);
        if succeeded {
            allocated(&event, values, label);
        } else {
            failed(&event, values, error, label);
        }
        return;
    }
    if covered && !event.has(flag::PASSES) {
        return;
    }
    if action == Action::Free as u8 || action == Action::Release as u8 {
        let key = live::key(&event, values);
        if succeeded && (action == Action::Free as u8 || is_last(&event, &key)) {
            end(&event, &key);
        }
    } else if action == Action::Freed as u8 {
        returned(&event, succeeded);
    } else if action == Action::Retain as u8 {
        if succeeded {
            take(&live::key(&event, values));
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
    if spec.covered_by & process.present != 0 {
        return;
    }
    let event = Event { process, spec };
    let values = outputs(values);
    let action = spec.action;
    let allocates = action == Action::Begin as u8
        || action == Action::Alloc as u8
        || action == Action::Register as u8;
    if allocates {
        missed_somewhere();
    } else if take_pending(&event, values, 0).is_some() && action == Action::Commit as u8 {
        missed(&event, values);
    }
}

/// All but what the program worked with.
#[inline(always)]
fn outputs(values: &mut Registers) -> &mut Outputs {
    // SAFETY: the beginning of an array is an array.
    unsafe { &mut *values.as_mut_ptr().cast() }
}

#[inline(always)]
fn output(values: &Outputs, register: u8) -> u64 {
    values[register as usize]
}
