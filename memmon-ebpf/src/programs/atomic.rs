//! Atomics that return what was there: totals are updated by many CPUs at once, and a program may
//! be preempted by another one.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

/// Adds and returns the *new* value.
#[inline(always)]
pub fn add(slot: *mut u64, delta: u64) -> u64 {
    // SAFETY: `slot` points into a map value, which is aligned to eight bytes and lives on.
    let old = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(slot, delta) };
    old.wrapping_add(delta)
}

/// As [`add`], of half the width; returns the *old* value.
#[inline(always)]
pub fn add32(slot: *mut u32, delta: u32) -> u32 {
    // SAFETY: as in `add`, aligned to four bytes.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(slot, delta) }
}

/// Raises `slot` to `value` where that is more.
#[inline(always)]
pub fn raise(slot: *mut i64, value: i64) {
    // SAFETY: as in `add`.
    let mut seen = unsafe { slot.read_volatile() };
    // Each round that fails means another CPU raised it: a few are enough for any machine, and the
    // loop must be seen to end.
    for _ in 0..8 {
        if value <= seen {
            return;
        }
        // SAFETY: as in `add`.
        let (now, done) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                slot.cast(),
                seen as u64,
                value as u64,
            )
        };
        if done {
            return;
        }
        seen = now as i64;
    }
}
