//! Exec, exit and fork. An observed process that ends, or becomes another program, is forgotten
//! here at once: a reused pid is a new process.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid},
    programs::TracePointContext,
};
use memmon_ebpf::record::ControlKind;

use crate::{
    emit, ledger,
    maps::{FORKED, PROCS, SCOPE},
    process::{INHERIT_SCOPE, Process, setting},
};

/// Where the exit tracepoint says that the whole process ends; 0 where this kernel does not say.
/// Set before loading.
#[unsafe(no_mangle)]
static EXIT_GROUP_DEAD_AT: u32 = 32;

/// Where the fork tracepoint names the child. Set before loading.
#[unsafe(no_mangle)]
static FORK_CHILD_AT: u32 = 20;

/// Where the exec tracepoint names the thread that became the program; 0 where it does not. Set
/// before loading.
#[unsafe(no_mangle)]
static EXEC_OLD_PID_AT: u32 = 16;

/// `Control::flags` of an exit of which it is not sure that it is the whole process's.
const MAYBE: u32 = 1 << 31;

#[inline(always)]
fn current() -> (u32, u32) {
    let pid_tgid = bpf_get_current_pid_tgid();
    ((pid_tgid >> 32) as u32, pid_tgid as u32)
}

#[inline(always)]
fn known(tgid: u32, tid: u32) -> Option<Process> {
    // SAFETY: the entry is only removed by the process itself, which runs this.
    let value = unsafe { PROCS.get(&tgid) }?;
    Some(Process {
        proc: value.proc,
        present: value.present,
        flags: value.flags,
        tgid,
        tid,
    })
}

pub fn exec(ctx: &TracePointContext) {
    let (tgid, tid) = current();
    let _ = FORKED.remove(&tgid);
    let at = setting(&EXEC_OLD_PID_AT) as usize;
    // The thread that executes takes over the number of the first one; its old one is nobody's.
    let old = match at {
        0 => tid,
        // SAFETY: as in `exit`.
        at => unsafe { ctx.read_at::<u32>(at) }.unwrap_or(tid),
    };
    ledger::forget_thread(tid);
    if old != tid {
        ledger::forget_thread(old);
    }
    if let Some(process) = known(tgid, tid) {
        let _ = PROCS.remove(&tgid);
        emit::control(ControlKind::Exec, &process, |record| {
            record.flags = process.flags;
            record.comm = bpf_get_current_comm().unwrap_or_default();
        });
    }
}

pub fn exit(ctx: &TracePointContext) {
    let (tgid, tid) = current();
    let _ = FORKED.remove(&tid);
    if tid != tgid {
        let _ = SCOPE.remove(&tid);
    }
    let proc = known(tgid, tid).map_or(0, |process| process.proc);
    ledger::thread_ended(proc, tid);
    // Again: its flags may be others by now.
    let process = known(tgid, tid);
    let at = setting(&EXIT_GROUP_DEAD_AT) as usize;
    if at == 0 {
        // The process may live on in its other threads: userspace looks.
        if let Some(process) = process {
            emit::control(ControlKind::Exit, &process, |record| {
                record.flags = process.flags | MAYBE;
            });
        }
        return;
    }
    // SAFETY: userspace read the offset from the tracepoint's own description.
    let group_dead = unsafe { ctx.read_at::<u8>(at) }.unwrap_or(0);
    if group_dead == 0 {
        return;
    }
    // Of one that never was observed, too: nobody else would take it out.
    let _ = SCOPE.remove(&tgid);
    let Some(process) = process else {
        return;
    };
    let _ = PROCS.remove(&tgid);
    emit::control(ControlKind::Exit, &process, |record| {
        record.flags = process.flags;
    });
}

pub fn fork(ctx: &TracePointContext) {
    let (tgid, _) = current();
    let at = setting(&FORK_CHILD_AT) as usize;
    if setting(&INHERIT_SCOPE) != 0 && SCOPE.get_ptr(&tgid).is_some() {
        // SAFETY: as in `exit`.
        if let Ok(child) = unsafe { ctx.read_at::<u32>(at) } {
            let _ = SCOPE.insert(&child, &1, 0);
        }
    }
    // SAFETY: the entry is only removed by the process itself, which runs this.
    let Some(parent) = (unsafe { PROCS.get(&tgid) }) else {
        return;
    };
    // SAFETY: as in `exit`.
    if let Ok(child) = unsafe { ctx.read_at::<u32>(at) } {
        let _ = FORKED.insert(&child, &parent.proc, 0);
    }
}
