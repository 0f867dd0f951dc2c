//! What a process held before memmon came, taken into the ledger while it runs on.
//!
//! The probes are placed first. From then on, and no sooner, every free in the process leaves a
//! trace (a tombstone where it is of something unknown), the walk reads what is live, and the kernel
//! refuses what it knows better: so each allocation is counted once, or not at all where it is gone
//! by then. That this is right in every order in which things can happen is checked in
//! `recovery_tests`.

use std::collections::{BTreeSet, HashMap, HashSet};

use memmon_ebpf::ledger::{OwnerKey, OwnerValue, ProcValue, RowKey, owner_flag, proc_flag};

use super::{
    keys::{live_key, owner_key, recovered_value, row_key},
    libraries::Use,
    observer::Observer,
    walk::{self, Walked},
};
use crate::{
    attach::table::Added,
    runtimes::resolver::Recovered,
    tables::{
        Fact,
        facts::{Baseline, OwnerId, Proc},
        live::LiveEntry,
    },
};

/// What is known of a process's time before memmon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// It held nothing, or only what probes saw being made: all that it has is seen from the start.
    Nothing,
    Recovered,
    Unknown,
}

/// A process that is about to be read.
#[derive(Default)]
pub(super) struct Recovery {
    pub pid: u32,
    pub value: ProcValue,
    pub uses: Vec<(Use, u64)>,
    /// The generations of its owners.
    pub before: HashMap<OwnerKey, u32>,
}

impl Observer {
    /// From here on its frees leave traces.
    pub(super) fn begin_recovery(
        &mut self,
        pid: u32,
        value: ProcValue,
        uses: Vec<(Use, u64)>,
    ) -> Recovery {
        let before: HashMap<OwnerKey, u32> = self
            .kernel
            .owners
            .all()
            .into_iter()
            .filter(|(key, _)| key.proc == value.proc)
            .map(|(key, owner)| (key, owner.ogen))
            .collect();
        // From here on frees leave a trace, so that what is freed behind the walk's back is not
        // counted.
        self.set_flag(pid, value.proc, proc_flag::RECOVERING, true);
        if let Some(watched) = self.processes.get_mut(&value.proc) {
            watched.traced = true;
        }
        Recovery {
            pid,
            value,
            uses,
            before,
        }
    }

    /// Reads what these processes hold, side by side, and takes it into the ledger.
    pub(super) fn recover(&mut self, recoveries: Vec<Recovery>) {
        let uses = recoveries
            .iter()
            .map(|recovery| (recovery.pid, recovery.uses.as_slice()));
        let found = walk::recover_all(uses);
        for (recovery, found) in recoveries.iter().zip(found) {
            let past = self.take_in_process(recovery, found);
            self.recovered(recovery, past);
        }
    }

    /// `found`: of each of its uses.
    fn take_in_process(&mut self, recovery: &Recovery, found: Vec<Walked>) -> Past {
        let Recovery {
            value,
            uses,
            before,
            ..
        } = recovery;
        let mut past = Past::Nothing;
        let (mut read, mut unread) = (BTreeSet::new(), BTreeSet::new());
        for ((using, _), found) in uses.iter().zip(found) {
            past = match found {
                Some(Ok(found)) => {
                    let opened = self.opened(value.proc);
                    let seen = found
                        .owners
                        .iter()
                        .all(|owner| opened.contains(&(using.space, owner.owner)));
                    self.take_in_runtime(value.proc, using.space, before, &found);
                    match found.consistent {
                        true => read.insert(using.space),
                        false => unread.insert(using.space),
                    };
                    match (past, found.consistent, seen) {
                        (Past::Unknown, _, _) | (_, false, _) => Past::Unknown,
                        (past, true, true) => past,
                        (_, true, false) => Past::Recovered,
                    }
                }
                // There is nothing to be read: it was seen.
                None if using.in_time => {
                    read.insert(using.space);
                    past
                }
                // It cannot be read.
                Some(Err(_)) | None => {
                    unread.insert(using.space);
                    Past::Unknown
                }
            };
        }
        if past == Past::Unknown {
            // What one runtime hides is no reason to doubt another.
            for space in read.difference(&unread).copied() {
                self.tell(Fact::Recovered {
                    proc: value.proc,
                    space,
                });
            }
        }
        past
    }

    /// The owners of a process whose making was seen.
    pub(super) fn opened(&self, proc: Proc) -> HashSet<(u32, u64)> {
        self.kernel
            .owners
            .all()
            .into_iter()
            .filter(|(key, owner)| key.proc == proc && owner.flags & owner_flag::OPENED != 0)
            .map(|(key, _)| (key.space, key.owner))
            .collect()
    }

    fn take_in_runtime(
        &mut self,
        proc: Proc,
        space: u32,
        before: &HashMap<OwnerKey, u32>,
        found: &Recovered,
    ) {
        self.add_owners(proc, space, found, before);
        let mut sums: HashMap<RowKey, Baseline> = HashMap::new();
        let mut live = Vec::new();
        for allocation in &found.allocations {
            let ogen = generation(before, &owner_key(proc, space, allocation.owner));
            let key = live_key(proc, space, allocation.key);
            let value = recovered_value(allocation, ogen);
            let added = self.kernel.live.add(key, value);
            if added == Added::There {
                // The kernel knows it better.
                continue;
            }
            let row = row_key(proc, space, allocation.owner, allocation.pool, ogen);
            let baseline = sums
                .entry(row)
                .or_insert_with(|| self.tables.baseline_of(&row));
            baseline.add(allocation.requested, allocation.charged);
            if added == Added::New {
                live.extend(LiveEntry::of(&key, &value));
            } else {
                // The map is full: it counts, but its end will not be known.
                baseline.doubts += 1;
                self.not_remembered += 1;
            }
        }
        // Events of what is freed meanwhile come after.
        self.journal.tell(&Fact::Live(live));
        for (key, baseline) in sums {
            self.tell(Fact::Baseline { key, baseline });
        }
    }

    /// Owners that a walk found, in the generations that they are in now.
    pub(super) fn add_owners_as_of_now(&mut self, proc: Proc, space: u32, found: &Recovered) {
        let known: HashMap<OwnerKey, u32> = found
            .owners
            .iter()
            .filter_map(|owner| {
                let key = owner_key(proc, space, owner.owner);
                Some((key, self.kernel.owners.get(key)?.ogen))
            })
            .collect();
        self.add_owners(proc, space, found, &known);
    }

    /// Owners that a walk found, in these generations.
    fn add_owners(
        &mut self,
        proc: Proc,
        space: u32,
        found: &Recovered,
        generations: &HashMap<OwnerKey, u32>,
    ) {
        for owner in &found.owners {
            let id = OwnerId {
                proc,
                space,
                owner: owner.owner,
            };
            let key = owner_key(proc, space, owner.owner);
            let ogen = generation(generations, &key);
            // Unless the kernel knows it already.
            let added = self.kernel.owners.add(
                key,
                OwnerValue {
                    ogen,
                    flags: 0,
                    device: owner.device,
                    aux: owner.aux,
                },
            );
            if added == Added::Full {
                // Its events will not be counted.
                self.not_stored += 1;
                self.tell(Fact::Inexact { proc });
            }
            self.tell(Fact::Placement {
                owner: id,
                ogen,
                placement: owner.placement.clone().lasting(),
            });
            // A row even where it holds nothing; what it held is not forgotten by a second look.
            let key = row_key(proc, space, owner.owner, owner.pool, ogen);
            let baseline = self.tables.baseline_of(&key);
            self.tell(Fact::Baseline { key, baseline });
        }
    }
}

/// 0 where the kernel has not heard of the owner.
fn generation(known: &HashMap<OwnerKey, u32>, owner: &OwnerKey) -> u32 {
    known.get(owner).copied().unwrap_or(0)
}
