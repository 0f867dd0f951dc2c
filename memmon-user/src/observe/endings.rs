//! Processes that end, and whatever no event told.

use memmon_ebpf::ledger::{Counter, LiveKey};

use super::{clock, observer::Observer};
use crate::{
    tables::{Fact, facts::Proc},
    target::identity,
};

/// Entries of dead processes in the live map from which it is swept at once.
const STALE_LIVE: u64 = 50_000;

impl Observer {
    /// Processes that are gone: their last totals are read, then the kernel forgets them.
    pub(super) fn finish(&mut self, ended: &[Proc]) {
        // What failed before is told with what was held then.
        self.drain_history();
        let rows = self.read_rows();
        let now = clock::boot_ns();
        for (key, value) in rows {
            if ended.contains(&key.proc) {
                self.stale_live += value.live.unsigned_abs();
                self.kernel.rows.remove(key);
            }
        }
        for (key, _) in self.kernel.owners.all() {
            if ended.contains(&key.proc) {
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
        let stale: Vec<LiveKey> = self
            .kernel
            .live
            .all()
            .into_iter()
            .filter(|(key, _)| !self.processes.contains_key(&key.proc))
            .map(|(key, _)| key)
            .collect();
        for key in stale {
            self.kernel.live.remove(key);
        }
        self.stale_live = 0;
    }

    /// Whatever no event told.
    pub(super) fn sweep(&mut self) {
        self.note_rates();
        let lost = self.kernel.counters().get(Counter::LostControl);
        if lost > self.last_lost_control {
            self.last_lost_control = lost;
            let known = self.kernel.procs.all();
            for (pid, value) in known {
                self.acquaint(value.proc, pid, None);
            }
            self.scan();
        }
        let gone: Vec<Proc> = self
            .processes
            .iter()
            .filter(|(_, watched)| {
                !identity::is_running(watched.pid)
                    || identity::start_ticks(watched.pid) != watched.start_ticks
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
        for proc in self.tables.expired(clock::boot_ns()) {
            self.tell(Fact::Forget { proc });
        }
        if self.stale_live > 0 {
            self.sweep_live();
        }
    }
}
