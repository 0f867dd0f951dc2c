//! Runtimes on top of one another. What the upper one takes, it takes from the lower one: only that one counts, and is
//! told by whose call. What fails before it gets there, the upper one reports.

use memmon_ebpf::{
    ledger::{
        CallValue,
        call_flag::{INSIDE, REACHED},
    },
    spec::{Action, flag},
};

use super::Event;
use crate::{maps::CALLS, memory, process};

/// A hit of the layer that counts.
#[inline(never)]
pub(super) fn enter_counted(event: &Event, action: u8) {
    if event.process.present & (1 << (event.spec.space & 63)) == 0 {
        process::present(event.spec.space);
    }
    let begins = action == Action::Begin as u8;
    let ends = action == Action::Commit as u8 || action == Action::Fail as u8;
    if !begins && !ends && action != Action::Alloc as u8 {
        return;
    }
    if let Some(call) = CALLS.get_ptr_mut(&event.process.tid) {
        // SAFETY: a map value; the slot is this thread's own.
        let call = unsafe { &mut *call };
        if call.proc != event.process.proc {
            call.proc = event.process.proc;
            call.label = 0;
        }
        call.flags = if begins { REACHED | INSIDE } else { REACHED };
    } else if begins {
        let call = CallValue {
            proc: event.process.proc,
            label: 0,
            flags: REACHED | INSIDE,
        };
        insert(event, &call);
    }
}

#[inline(never)]
fn insert(event: &Event, call: &CallValue) {
    if CALLS.insert(&event.process.tid, call, 0).is_ok() {
        memory::memmon_thread_has(event.process.tid, event.spec.space);
    }
}

/// The function that the program called: of the upper layer where it is in one.
#[inline(always)]
pub(super) fn label(event: &Event) -> u32 {
    if !event.has(flag::LAYERED) {
        return event.spec.label;
    }
    called_from(event)
}

#[inline(never)]
fn called_from(event: &Event) -> u32 {
    match CALLS.get_ptr(&event.process.tid) {
        // SAFETY: as above.
        Some(call) if unsafe { (*call).proc == event.process.proc && (*call).label != 0 } => unsafe {
            (*call).label
        },
        _ => event.spec.label,
    }
}

/// A call of a layer that another one counts for.
#[inline(never)]
pub(super) fn enter(event: &Event) {
    let call = CallValue {
        proc: event.process.proc,
        label: event.spec.label,
        flags: 0,
    };
    // In place where it is known; an outer call of the same thread is what the program called.
    if let Some(known) = CALLS.get_ptr_mut(&event.process.tid) {
        // SAFETY: a map value; the slot is this thread's own.
        let known = unsafe { &mut *known };
        let inside = known.label != 0 || known.flags & INSIDE != 0;
        if known.proc != call.proc || !inside || known.label == call.label {
            *known = call;
        }
        return;
    }
    insert(event, &call);
}

/// Its end. Returns whether it came to the layer that counts.
#[inline(never)]
pub(super) fn leave(event: &Event) -> bool {
    let Some(call) = CALLS.get_ptr_mut(&event.process.tid) else {
        return false;
    };
    // SAFETY: a map value; the slot is this thread's own.
    let call = unsafe { &mut *call };
    let reached = call.flags & (REACHED | INSIDE) != 0;
    if call.label == event.spec.label {
        call.label = 0;
        call.flags = 0;
    }
    reached
}
