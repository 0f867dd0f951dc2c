//! Which stack a probe's program runs on.
//!
//! From Linux 6.13 on, programs of this type get a stack of their own, one a CPU and not one a thread, on the
//! assumption that they are not preempted. Those at uprobes are, where the kernel is built or told to be preemptible:
//! a thread that is preempted inside a probe would find its stack overwritten by the next one that hits a probe on
//! that CPU. Programs with a tail call are exempt, and run on the thread's own stack.

use aya_ebpf::helpers::bpf_tail_call;

use crate::maps::NO_PROGRAMS;

/// Goes nowhere: that it is there is all that counts. It has to stand in the main function, where it puts no bound on
/// the stack of callers.
#[inline(always)]
pub fn keep_own(ctx: *mut core::ffi::c_void) {
    // SAFETY: `ctx` is the context that the program was called with; the map has no program.
    unsafe { bpf_tail_call(ctx, (&raw const NO_PROGRAMS).cast_mut().cast(), 0) };
}
