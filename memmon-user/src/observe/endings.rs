//! Processes that end, and whatever no event told.

use std::collections::{HashMap, HashSet};

use memmon_ebpf::ledger::{Counter, LiveKey, LiveValue, OwnerKey, owner_flag, proc_flag};

use super::{keys::owner_key, observer::Observer};
use crate::{
    attach::{kernel::Kernel, table::Added},
    clock,
    tables::{
        EXITED_SHOWN, Fact,
        facts::{OwnerId, Proc, Since},
    },
    target::identity,
};

/// Entries of dead processes in the live map from which it is swept at once.
const STALE_LIVE: u64 = 50_000;
/// Processes too many that ended before the next sweep, from which they are forgotten at once.
const MANY_ENDED: usize = 512;

/// Each process is looked up once in so many sweeps: the kernel tells when one ends. All are at once where what it
/// told was lost.
const SWEEPS_A_ROUND: u64 = 10;

impl Observer {
    /// Processes that are gone: their last totals are read, then the kernel forgets them.
    pub(super) fn finish(&mut self, ended: &[Proc]) {
        // What failed before is told with what was held then.
        self.drain_history();
        let (rows, owners) = self.read_rows();
        let now = clock::boot_ns();
        let ended: HashSet<Proc> = ended.iter().copied().collect();
        self.tell_of_unmet(&ended, &rows);
        for (key, value) in rows {
            if ended.contains(&key.proc) {
                self.stale_live += value.live.unsigned_abs();
                self.kernel.rows.remove(key);
            }
        }
        for (key, _) in owners {
            if ended.contains(&key.proc) {
                self.kernel.owners.remove(key);
            }
        }
        for proc in ended {
            // The sweep may have been faster than the record, or never have heard of it.
            let Some(watched) = self.processes.remove(&proc) else {
                continue;
            };
            self.libraries.process_gone(watched.pid);
            // Neither what was recovered nor traces of frees are in the kernel's rows.
            self.stale_live += u64::from(watched.traced);
            if let Some(ending) = self.tables.describe_ending(proc, clock::now()) {
                self.tell(Fact::Ending(ending));
            }
            self.tell(Fact::Exited { proc, at_ns: now });
        }
        if self.stale_live > STALE_LIVE {
            self.sweep_live();
        }
        if self.tables.remembered() > self.processes.len() + EXITED_SHOWN + MANY_ENDED {
            self.forget_ended();
        }
    }

    /// Owners whose memory ended at once: their rows have told all that they will. What they held
    /// is swept from the live map in time.
    pub(super) fn forget_closed(&mut self) {
        let (rows, owners) = self.read_rows();
        let owners: HashMap<OwnerKey, u32> = owners
            .into_iter()
            .map(|(key, owner)| (key, owner.ogen))
            .collect();
        let mut last = Vec::new();
        for (key, _) in rows {
            let owner = owner_key(key.proc, key.space, key.owner);
            if owners.get(&owner).is_some_and(|ogen| key.ogen < *ogen)
                && let Some(value) = self.kernel.rows.take_out(key)
            {
                self.stale_live += value.live.unsigned_abs();
                last.push((key, value));
            }
        }
        // The owner may have been closed after its row was read: what came in between is told, too.
        self.tell_rows(&last);
    }

    /// What was recovered of a generation that ended; there may be no row of it in the kernel.
    pub(super) fn count_closed(&mut self, owner: &OwnerId, ended: u32) {
        let recovered: u64 = self
            .tables
            .rows_of(owner.proc)
            .filter(|key| OwnerId::of(key) == *owner && key.ogen == ended)
            .map(|key| self.tables.baseline_of(&key).live.unsigned_abs())
            .sum();
        self.stale_live += recovered;
    }

    /// Forgets allocations of processes that ended and of owners that were closed.
    pub(super) fn sweep_live(&mut self) {
        // In this order: whatever is live belongs to a process and an owner that came before it.
        let live = self.kernel.live.all();
        let owners: HashMap<OwnerKey, u32> = self
            .kernel
            .owners
            .all()
            .into_iter()
            .map(|(key, owner)| (key, owner.ogen))
            .collect();
        let running = self.running_by_kernel();
        let is_stale = |key: &LiveKey, value: &LiveValue| {
            let owner = owner_key(key.proc, key.space, value.owner);
            owners.get(&owner).is_some_and(|ogen| value.ogen < *ogen)
        };
        for (key, value) in live {
            if !self.is_known(key.proc, &running) {
                self.kernel.live.remove(key);
            } else if is_stale(&key, &value)
                && self
                    .kernel
                    .live
                    .get(key)
                    .is_some_and(|now| is_stale(&key, &now))
                && !self.take_out(key, is_stale)
            {
                self.tell(Fact::Inexact { proc: key.proc });
            }
        }
        self.stale_live = 0;
    }

    /// Removes a stale entry of the live map. Its key may be a new allocation's by now: that is put
    /// back. False where it may have been freed in the meantime, which nobody could tell.
    fn take_out(&mut self, key: LiveKey, is_stale: impl Fn(&LiveKey, &LiveValue) -> bool) -> bool {
        let unknown_frees = |kernel: &Kernel| kernel.counters().get(Counter::UnknownFrees);
        let before = unknown_frees(&self.kernel);
        match self.kernel.live.take_out(key) {
            Some(taken) if !is_stale(&key, &taken) => {
                self.kernel.live.add(key, taken) == Added::New
                    && unknown_frees(&self.kernel) == before
            }
            _ => true,
        }
    }

    fn running_by_kernel(&self) -> HashSet<Proc> {
        let processes = self.kernel.procs.all();
        processes.iter().map(|(_, value)| value.proc).collect()
    }

    fn is_known(&self, proc: Proc, running: &HashSet<Proc>) -> bool {
        self.processes.contains_key(&proc) || running.contains(&proc)
    }

    /// Whatever no event told.
    pub(super) fn sweep(&mut self) {
        self.note_rates();
        self.sweeps += 1;
        let lost = self.kernel.counters().get(Counter::LostControl);
        let has_lost = lost > self.last_lost_control;
        if has_lost {
            self.last_lost_control = lost;
            self.look_again();
        }
        if has_lost || !self.orphans.is_empty() {
            self.sweep_orphans();
        }
        self.retry_uncounted();
        // Where the kernel does not say whether a whole process ends, that is seen here.
        let all = has_lost || !self.kernel.tells_ends();
        let turn = self.sweeps % SWEEPS_A_ROUND;
        let gone: Vec<Proc> = self
            .processes
            .iter()
            .filter(|(proc, watched)| all || watched.uncounted || *proc % SWEEPS_A_ROUND == turn)
            .filter(|(proc, watched)| {
                // It ended, or became another program: the kernel's own word.
                let counted = self.kernel.procs.get(watched.pid);
                let forgotten = counted.is_none_or(|value| value.proc != **proc);
                (forgotten && !watched.uncounted)
                    || !identity::still_runs(watched.pid, watched.start_ticks)
            })
            .map(|(proc, _)| *proc)
            .collect();
        if !gone.is_empty() {
            for proc in &gone {
                if let Some(pid) = self.processes.get(proc).map(|watched| watched.pid)
                    && self
                        .kernel
                        .procs
                        .get(pid)
                        .is_some_and(|value| value.proc == *proc)
                {
                    self.kernel.procs.remove(pid);
                }
            }
            self.finish(&gone);
        }
        self.forget_strangers();
        self.forget_ended();
        if self.stale_live > 0 {
            self.sweep_live();
        }
        self.libraries.let_go(&mut self.kernel);
    }

    /// Owners whose first allocation no record told of.
    fn place_unplaced(&mut self) {
        for (key, value) in self.kernel.owners.all() {
            self.place_stored(&key, &value);
        }
    }

    /// Processes that came and went without a record of either: nobody will ever say that they ended. Those of which a
    /// record may still be on its way are left for the next time.
    fn sweep_orphans(&mut self) {
        let rows = self.kernel.rows.all();
        let owners = self.kernel.owners.all();
        let running = self.running_by_kernel();
        let of_rows = rows.iter().map(|(key, _)| key.proc);
        let of_owners = owners.iter().map(|(key, _)| key.proc);
        let orphans: HashSet<Proc> = of_rows
            .chain(of_owners)
            .filter(|proc| !self.is_known(*proc, &running))
            .collect();
        let over: HashSet<Proc> = orphans.intersection(&self.orphans).copied().collect();
        for (key, value) in rows {
            if over.contains(&key.proc) {
                self.stale_live += value.live.unsigned_abs();
                self.kernel.rows.remove(key);
            }
        }
        for (key, _) in owners {
            if over.contains(&key.proc) {
                self.kernel.owners.remove(key);
            }
        }
        for proc in &over {
            self.tell(Fact::Forget { proc: *proc });
        }
        self.orphans = orphans.difference(&over).copied().collect();
    }

    fn forget_ended(&mut self) {
        let expired = self.tables.expired(clock::boot_ns());
        self.forgotten_early += expired.early;
        for proc in expired.procs {
            self.tell(Fact::Forget { proc });
        }
    }

    /// Process events were lost: who is there is asked again, and where their memory lies.
    fn look_again(&mut self) {
        for (pid, value) in self.kernel.procs.all() {
            if self.ignores(pid, value.proc) {
                continue;
            }
            self.acquaint(value.proc, pid, None);
            if value.flags & proc_flag::FORKED != 0
                && let Some(watched) = self.processes.get_mut(&value.proc)
            {
                watched.fresh = true;
                watched.forked = true;
            }
        }
        self.scan();
        self.forget_closed();
        for (key, value) in self.kernel.owners.all() {
            let fresh = self.processes.get(&key.proc).is_some_and(|it| it.fresh);
            if fresh
                && value.flags & owner_flag::OPENED != 0
                && self.tables.process_since(key.proc) == Some(Since::Attach)
            {
                self.tell(Fact::Since {
                    proc: key.proc,
                    since: Since::Start,
                });
            }
        }
        self.place_unplaced();
    }

    /// Numbers of processes that ended before they could be met.
    fn forget_strangers(&mut self) {
        for (pid, value) in self.kernel.procs.all() {
            if !self.processes.contains_key(&value.proc) && !identity::is_running(pid) {
                self.kernel.procs.remove(pid);
            }
        }
    }

    /// There may be room for them by now: they are met anew.
    fn retry_uncounted(&mut self) {
        let all: Vec<(Proc, u32)> = self
            .processes
            .iter()
            .filter(|(_, watched)| watched.uncounted)
            .map(|(proc, watched)| (*proc, watched.pid))
            .collect();
        for (proc, pid) in all {
            if self.number(pid).is_some() {
                self.processes.remove(&proc);
                self.tell(Fact::Forget { proc });
                self.look_at(pid);
            }
        }
    }
}
