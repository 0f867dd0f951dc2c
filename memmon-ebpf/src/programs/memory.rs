//! What a runtime's probes remember for each other: of a process, of a thread, and from the entry of a function to its
//! return. Nothing here is counted.
//!
//! Most are exported, which makes them global functions: verified once, not once a caller. Such functions take and return
//! numbers.

use memmon_ebpf::{
    ledger::{Counter, CurrentValue, NoteKey, PendingKey, PendingValue},
    spec::{Action, NOTHING, ProbeSpec, REGISTERS, reg},
};

use crate::{
    counters,
    maps::{CARRIED, CURRENT, NOTES, THREADS},
    process::{self, Process},
};

type Registers = [u64; REGISTERS];

#[inline(always)]
pub fn slot(spec: &ProbeSpec, process: &Process) -> PendingKey {
    PendingKey {
        tid: process.tid,
        space: spec.space,
    }
}

#[inline(always)]
fn note(proc: u64, space: u32, key: u64) -> NoteKey {
    NoteKey {
        proc,
        key,
        space,
        reserved: 0,
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn memmon_noted(proc: u64, space: u32, key: u64) -> u64 {
    match NOTES.get_ptr(&note(proc, space, key)) {
        // SAFETY: a map value stays readable until the program ends.
        Some(value) => unsafe { *value },
        None => NOTHING,
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn memmon_current(proc: u64, space: u32, tid: u32) -> u64 {
    match CURRENT.get_ptr(&PendingKey { tid, space }) {
        // SAFETY: as above.
        Some(known) if unsafe { (*known).proc } == proc => unsafe { (*known).values[0] },
        _ => NOTHING,
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn memmon_carried(proc: u64, space: u32, tid: u32, output: u32) -> u64 {
    match CARRIED.get_ptr(&PendingKey { tid, space }) {
        // SAFETY: as above.
        Some(carried) if unsafe { (*carried).proc } == proc => unsafe {
            (*carried).outputs[output as usize & 7]
        },
        _ => 0,
    }
}

/// Takes note of what the action says.
#[inline(always)]
pub fn remember(spec: &ProbeSpec, process: &Process, values: &Registers) {
    let (proc, space, action) = (process.proc, spec.space, spec.action);
    let value = values[reg::VALUE as usize];
    if action == Action::Note as u8 {
        memmon_note(proc, space, values[reg::KEY as usize], value);
    } else if action == Action::Carry as u8 {
        carry(spec, process, values);
    } else {
        memmon_set_current(proc, space, process.tid, action as u32, value);
    }
}

/// Where the notes are full, the one that was not asked for longest goes.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn memmon_note(proc: u64, space: u32, key: u64, value: u64) -> u32 {
    let _ = NOTES.insert(&note(proc, space, key), &value, 0);
    0
}

static NOTHING_CARRIED: PendingValue = PendingValue {
    proc: 0,
    set: 0,
    outputs: [0; 8],
};

static NOTHING_CURRENT: CurrentValue = CurrentValue {
    proc: 0,
    values: [NOTHING; 8],
};

// A thread's slots are made once, and filled in place: the stack has no room for them.

#[inline(never)]
fn carry(spec: &ProbeSpec, process: &Process, values: &Registers) {
    let at = slot(spec, process);
    let slot = match CARRIED.get_ptr_mut(&at) {
        Some(slot) => slot,
        None => {
            if CARRIED.insert(&at, &NOTHING_CARRIED, 0).is_err() {
                counters::count(Counter::TableFull);
                return;
            }
            memmon_thread_has(at.tid, at.space);
            match CARRIED.get_ptr_mut(&at) {
                Some(slot) => slot,
                None => return,
            }
        }
    };
    // SAFETY: a map value; the slot is this thread's own.
    let slot = unsafe { &mut *slot };
    slot.proc = process.proc;
    macro_rules! keep {
        ($($index:literal)+) => { $( slot.outputs[$index] = values[$index]; )+ };
    }
    keep!(0 1 2 3 4 5 6 7);
}

#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn memmon_set_current(
    proc: u64,
    space: u32,
    tid: u32,
    action: u32,
    value: u64,
) -> u32 {
    let pops = action == Action::PopCurrent as u32;
    let at = PendingKey { tid, space };
    let known = match CURRENT.get_ptr_mut(&at) {
        Some(known) => known,
        // What was there before is not known.
        None if pops => return 0,
        None => {
            if CURRENT.insert(&at, &NOTHING_CURRENT, 0).is_err() {
                counters::count(Counter::TableFull);
                return 0;
            }
            memmon_thread_has(tid, space);
            match CURRENT.get_ptr_mut(&at) {
                Some(known) => known,
                None => return 0,
            }
        }
    };
    // SAFETY: a map value; the slot is this thread's own.
    let known = unsafe { &mut *known };
    if known.proc != proc {
        known.proc = proc;
        macro_rules! clear {
            ($($index:literal)+) => { $( known.values[$index] = NOTHING; )+ };
        }
        clear!(0 1 2 3 4 5 6 7);
    }
    macro_rules! shift {
        ($($to:literal <- $from:literal)+) => { $( known.values[$to] = known.values[$from]; )+ };
    }
    if pops {
        shift!(0 <- 1 1 <- 2 2 <- 3 3 <- 4 4 <- 5 5 <- 6 6 <- 7);
        known.values[7] = NOTHING;
        return 0;
    }
    if action == Action::PushCurrent as u32 {
        shift!(7 <- 6 6 <- 5 5 <- 4 4 <- 3 3 <- 2 2 <- 1 1 <- 0);
    }
    known.values[0] = value;
    0
}

/// The maps by thread have something of it: its end takes that away.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn memmon_thread_has(tid: u32, space: u32) -> u32 {
    let bit = 1_u64 << (space & 63);
    if let Some(spaces) = THREADS.get_ptr_mut(&tid) {
        // SAFETY: a map value; the slot is this thread's own.
        unsafe { *spaces |= bit };
    } else if THREADS.insert(&tid, &bit, 0).is_err() {
        counters::count(Counter::TableFull);
        process::doubt();
    }
    0
}
