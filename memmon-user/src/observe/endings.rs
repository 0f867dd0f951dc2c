//! Processes that end, and whatever no event told.

use std::collections::HashSet;

use memmon_ebpf::ledger::{Counter, LiveKey};

use super::{clock, observer::Observer};
use crate::{
    runtimes::resolver::OwnerHint,
    tables::{
        Fact,
        facts::{OwnerId, Proc},
    },
    target::identity,
};

/// Entries of dead processes in the live map from which it is swept at once.
const STALE_LIVE: u64 = 50_000;

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
        let is_over: HashSet<Proc> = ended.iter().copied().collect();
        for (key, value) in rows {
            if is_over.contains(&key.proc) {
                self.stale_live += value.live.unsigned_abs();
                self.kernel.rows.remove(key);
            }
        }
        for (key, _) in owners {
            if is_over.contains(&key.proc) {
                self.kernel.owners.remove(key);
            }
        }
        for proc in ended {
            if let Some(ending) = self.tables.describe_ending(*proc, clock::now()) {
                self.tell(Fact::Ending(ending));
            }
            self.tell(Fact::Exited {
                proc: *proc,
                at_ns: now,
            });
            if let Some(watched) = self.processes.remove(proc) {
                self.libraries.process_gone(watched.pid);
            }
        }
        if self.stale_live > STALE_LIVE {
            self.sweep_live();
        }
    }

    pub(super) fn sweep_live(&mut self) {
        let live = self.kernel.live.all();
        // Read after them: the kernel knows who allocates before it knows the first allocation, and long before we do.
        let running = self.running_by_kernel();
        let stale: Vec<LiveKey> = live
            .into_iter()
            .filter(|(key, _)| !self.is_known(key.proc, &running))
            .map(|(key, _)| key)
            .collect();
        for key in stale {
            self.kernel.live.remove(key);
        }
        self.stale_live = 0;
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
            let known = self.kernel.procs.all();
            for (pid, value) in known {
                self.acquaint(value.proc, pid, None);
            }
            self.scan();
            self.place_unplaced();
        }
        if has_lost || !self.orphans.is_empty() {
            self.sweep_orphans();
        }
        // Where the kernel does not say whether a whole process ends, that is seen here.
        let all = has_lost || !self.kernel.tells_ends();
        let turn = self.sweeps % SWEEPS_A_ROUND;
        let gone: Vec<Proc> = self
            .processes
            .iter()
            .filter(|(proc, _)| all || *proc % SWEEPS_A_ROUND == turn)
            .filter(|(_, watched)| !identity::still_runs(watched.pid, watched.start_ticks))
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
        for proc in self.tables.expired(clock::boot_ns()) {
            self.tell(Fact::Forget { proc });
        }
        if self.stale_live > 0 {
            self.sweep_live();
        }
        self.libraries.let_go(&mut self.kernel);
    }

    /// Owners whose first allocation no record told of.
    fn place_unplaced(&mut self) {
        for (key, value) in self.kernel.owners.all() {
            let owner = OwnerId {
                proc: key.proc,
                space: key.space,
                owner: key.owner,
            };
            if value.device != 0 && self.tables.placement_of(&owner, value.ogen).is_none() {
                let hint = OwnerHint {
                    owner: key.owner,
                    device: value.device,
                    aux: value.aux,
                };
                self.place(owner, value.ogen, &hint);
            }
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
}
