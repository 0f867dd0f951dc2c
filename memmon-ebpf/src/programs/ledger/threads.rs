//! What is kept by thread goes with the thread.

use memmon_ebpf::ledger::PendingKey;

use super::pending::abandoned;
use crate::maps::{CALLS, CARRIED, CURRENT, FREED, PENDING, THREADS};

/// Numbers of runtimes are below this.
const MAX_SPACES: u32 = 64;

/// The thread ends. Most never had anything: they pay for one look.
#[inline(always)]
pub fn thread_ended(proc: u64, tid: u32) {
    let Some(spaces) = spaces(tid) else {
        return;
    };
    for space in 0..MAX_SPACES {
        if spaces & (1 << space) != 0 {
            abandoned(proc, tid, space);
            forget(tid, space);
        }
    }
}

/// What the thread left behind that became this program's only one.
#[inline(never)]
pub fn forget_thread(tid: u32) {
    let Some(spaces) = spaces(tid) else {
        return;
    };
    for space in 0..MAX_SPACES {
        if spaces & (1 << space) != 0 {
            let _ = PENDING.remove(&PendingKey { tid, space });
            forget(tid, space);
        }
    }
}

#[inline(always)]
fn spaces(tid: u32) -> Option<u64> {
    // SAFETY: the entry is the thread's own, and removed only here.
    let spaces = *unsafe { THREADS.get(&tid) }?;
    let _ = THREADS.remove(&tid);
    let _ = CALLS.remove(&tid);
    Some(spaces)
}

#[inline(never)]
fn forget(tid: u32, space: u32) {
    let slot = PendingKey { tid, space };
    let _ = CARRIED.remove(&slot);
    let _ = FREED.remove(&slot);
    let _ = CURRENT.remove(&slot);
}
