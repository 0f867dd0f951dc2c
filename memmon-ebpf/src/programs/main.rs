//! The BPF programs: one interpreter that every probe runs, the ledger it feeds, and the lives of
//! processes. Nothing here knows any runtime: what a probe means is in its spec.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(
    internal_features,
    reason = "atomics with a result: core has no other way on this target"
)]

mod atomic;
mod counters;
mod emit;
mod interpreter;
mod ledger;
mod lifecycle;
mod maps;
mod memory;
mod oddities;
mod process;
mod stack;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid},
    macros::{tracepoint, uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext, TracePointContext},
};
use memmon_ebpf::{WIRE_VERSION, ledger::Counter, spec::ProbeSpec};

use core::mem::MaybeUninit;

use crate::interpreter::Outcome;

// The same program thrice: one link for all points of a library where the kernel has those (6.6
// and later), one link a point elsewhere, and at the return of a function.

#[uprobe(multi)]
pub fn probe_multi(ctx: ProbeContext) -> u32 {
    probe(ctx.regs, ctx.as_ptr())
}

#[uprobe]
pub fn probe_single(ctx: ProbeContext) -> u32 {
    probe(ctx.regs, ctx.as_ptr())
}

#[uretprobe(multi)]
pub fn probe_return_multi(ctx: RetProbeContext) -> u32 {
    probe(ctx.regs, ctx.as_ptr())
}

#[uretprobe]
pub fn probe_return_single(ctx: RetProbeContext) -> u32 {
    probe(ctx.regs, ctx.as_ptr())
}

#[inline(always)]
fn probe(regs: *const aya_ebpf::bindings::pt_regs, ctx: *mut core::ffi::c_void) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if !process::in_scope(tgid) {
        return 0;
    }
    // SAFETY: `ctx` is the context this program was called with.
    let cookie = unsafe { bpf_get_attach_cookie(ctx) };
    let Some(spec) = spec(cookie) else {
        counters::count(Counter::BadSpecs);
        stack::keep_own(ctx);
        return 0;
    };
    let Some(process) = process::observe(tgid, tid) else {
        return 0;
    };
    let mut values = MaybeUninit::uninit();
    let values = interpreter::zeroed(&mut values);
    match interpreter::run(spec, regs, &process, values) {
        Outcome::Done => ledger::apply(spec, &process, values, true),
        Outcome::CallFailed => ledger::apply(spec, &process, values, false),
        Outcome::NoEvent => {}
        Outcome::ReadFailed => {
            counters::count(Counter::FailedReads);
            ledger::unreadable(spec, &process, values);
        }
    }
    0
}

#[inline(always)]
fn spec(cookie: u64) -> Option<&'static ProbeSpec> {
    let spec = maps::SPECS.get(cookie as u32)?;
    (spec.version == WIRE_VERSION).then_some(spec)
}

#[tracepoint]
pub fn process_exec(ctx: TracePointContext) -> u32 {
    lifecycle::exec(&ctx);
    0
}

#[tracepoint]
pub fn process_exit(ctx: TracePointContext) -> u32 {
    lifecycle::exit(&ctx);
    0
}

#[tracepoint]
pub fn process_fork(ctx: TracePointContext) -> u32 {
    lifecycle::fork(&ctx);
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
