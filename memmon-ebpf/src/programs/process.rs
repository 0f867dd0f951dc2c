//! Which processes are observed, and who they are.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns};
use memmon_ebpf::{
    ledger::{Counter, ProcValue, proc_flag},
    record::ControlKind,
};

use crate::{
    atomic, counters, emit,
    maps::{FORKED, NUMBERS, PROCS, SCOPE},
};

/// memmon's own pid: never observed. Set before loading.
#[unsafe(no_mangle)]
static OWN_PID: u32 = 0;

/// Above 0: only pids in `SCOPE`. Set before loading.
#[unsafe(no_mangle)]
static NARROWED: u32 = 0;

/// Above 0: children of a pid in `SCOPE` come into it. Set before loading.
#[unsafe(no_mangle)]
pub static INHERIT_SCOPE: u32 = 0;

#[inline(always)]
pub fn setting(value: &'static u32) -> u32 {
    // SAFETY: a static; volatile because the loader changes it behind the compiler's back.
    unsafe { core::ptr::read_volatile(value) }
}

/// The process that a probe was hit in.
#[derive(Clone, Copy)]
pub struct Process {
    pub proc: u64,
    /// Spaces in use, one bit each.
    pub present: u64,
    pub flags: u32,
    pub tgid: u32,
    pub tid: u32,
}

#[inline(always)]
pub fn in_scope(tgid: u32) -> bool {
    if tgid == setting(&OWN_PID) {
        return false;
    }
    setting(&NARROWED) == 0 || SCOPE.get_ptr(&tgid).is_some()
}

/// Looks a process up, or makes its acquaintance.
#[inline(always)]
pub fn observe(tgid: u32, tid: u32) -> Option<Process> {
    // SAFETY: the entry may be reused when the process ends, which it cannot while it runs this.
    if let Some(known) = unsafe { PROCS.get(&tgid) } {
        if known.flags & proc_flag::IGNORED != 0 {
            return None;
        }
        return Some(Process {
            proc: known.proc,
            present: known.present,
            flags: known.flags,
            tgid,
            tid,
        });
    }
    first_sight(tgid, tid)
}

/// Something happened in the process that runs now of which its numbers do not tell: none of them is
/// sure to be whole from here on.
#[inline(never)]
pub fn doubt() {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(known) = PROCS.get_ptr_mut(&tgid) {
        // SAFETY: a map value; the flag is only ever set, by whichever thread.
        unsafe { (*known).flags |= proc_flag::INEXACT };
    }
}

/// The runtime is in use in the process that runs now.
#[inline(never)]
pub fn present(space: u32) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(known) = PROCS.get_ptr_mut(&tgid) {
        // SAFETY: a map value; two threads at once may lose one of the bits, which its next event sets.
        unsafe { (*known).present |= 1 << (space & 63) };
    }
}

#[inline(never)]
fn first_sight(tgid: u32, tid: u32) -> Option<Process> {
    let number = NUMBERS.get_ptr_mut(0)?;
    let flags = if FORKED.get_ptr(&tgid).is_some() {
        proc_flag::FORKED
    } else {
        // Those that mapped the library before it was attached to were found before that.
        proc_flag::WHOLE
    };
    let value = ProcValue {
        proc: atomic::add(number, 1),
        // SAFETY: no arguments.
        first_seen_ns: unsafe { bpf_ktime_get_boot_ns() },
        present: 0,
        flags,
        reserved: 0,
    };
    const NO_EXIST: u64 = 1;
    if PROCS.insert(&tgid, &value, NO_EXIST).is_err() {
        // Another thread of it was faster, or the map is full.
        // SAFETY: as in `observe`.
        let Some(known) = (unsafe { PROCS.get(&tgid) }) else {
            counters::count(Counter::TableFull);
            return None;
        };
        return Some(Process {
            proc: known.proc,
            present: known.present,
            flags: known.flags,
            tgid,
            tid,
        });
    }
    let process = Process {
        proc: value.proc,
        present: 0,
        flags,
        tgid,
        tid,
    };
    emit::control(ControlKind::ProcSeen, &process, |record| {
        record.flags = flags;
        record.comm = bpf_get_current_comm().unwrap_or_default();
    });
    Some(process)
}
