//! What a process held before memmon came, taken into the ledger while it runs on.
//!
//! The probes are placed first. From then on, and no sooner, every free in the process leaves a
//! trace (a tombstone where it is of something unknown), the walk reads what is live, and the kernel
//! refuses what it knows better: so each allocation is counted once, or not at all where it is gone
//! by then. That this is right in every order in which things can happen is checked in
//! `recovery_tests`.

use std::collections::{HashMap, HashSet};

use memmon_ebpf::ledger::{
    LiveKey, LiveValue, OwnerKey, OwnerValue, ProcValue, RowKey, live_flag, owner_flag, proc_flag,
};

use super::{libraries::Use, observer::Observer, walk};
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

impl Observer {
    /// Reads what the process holds, and takes it into the ledger.
    pub(super) fn recover(&mut self, pid: u32, value: ProcValue, uses: &[(Use, u64)]) -> Past {
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
        let mut past = Past::Nothing;
        for (using, base) in uses {
            let found = match &using.model {
                Some(model) => walk::recover_own(model.as_ref(), pid, *base),
                None => Err("this runtime's allocators cannot be read".to_owned()),
            };
            past = match found {
                Ok(found) => {
                    let opened = self.opened(value.proc);
                    let seen = found
                        .owners
                        .iter()
                        .all(|owner| opened.contains(&(using.space, owner.owner)));
                    self.take_in(value.proc, using.space, &before, &found);
                    match (past, found.consistent, seen) {
                        (Past::Unknown, _, _) | (_, false, _) => Past::Unknown,
                        (past, true, true) => past,
                        (_, true, false) => Past::Recovered,
                    }
                }
                Err(_) => Past::Unknown,
            };
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

    pub(super) fn take_in(
        &mut self,
        proc: Proc,
        space: u32,
        before: &HashMap<OwnerKey, u32>,
        found: &Recovered,
    ) {
        let generation = |owner: u64| {
            let key = OwnerKey {
                proc,
                owner,
                space,
                reserved: 0,
            };
            before.get(&key).copied().unwrap_or(0)
        };
        for owner in &found.owners {
            let id = OwnerId {
                proc,
                space,
                owner: owner.owner,
            };
            let ogen = generation(owner.owner);
            // Unless the kernel knows it already.
            let added = self.kernel.owners.add(
                OwnerKey {
                    proc,
                    owner: owner.owner,
                    space,
                    reserved: 0,
                },
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
        let mut sums: HashMap<RowKey, Baseline> = HashMap::new();
        let mut live = Vec::new();
        let mut forgotten = 0;
        for allocation in &found.allocations {
            let ogen = generation(allocation.owner);
            let key = LiveKey {
                proc,
                key: allocation.key,
                space,
                reserved: 0,
            };
            let value = LiveValue {
                owner: allocation.owner,
                requested: allocation.requested,
                charged: allocation.charged,
                address: allocation.address,
                pool: allocation.pool,
                ogen,
                flags: live_flag::RECOVERED,
                ..LiveValue::default()
            };
            match self.kernel.live.add(key, value) {
                Added::There => continue,
                Added::New => live.extend(LiveEntry::of(&key, &value)),
                // Its bytes count; its free will not be known.
                Added::Full => forgotten += 1,
            }
            let row = row_key(proc, space, allocation.owner, allocation.pool, ogen);
            sums.entry(row)
                .or_insert_with(|| self.tables.baseline_of(&row))
                .add(allocation.requested, allocation.charged);
        }
        if forgotten > 0 {
            self.not_remembered += forgotten;
            self.tell(Fact::Inexact { proc });
        }
        // Events of what is freed meanwhile come after.
        self.journal.tell(&Fact::Live(live));
        for (key, baseline) in sums {
            self.tell(Fact::Baseline { key, baseline });
        }
    }
}

pub(super) fn row_key(proc: Proc, space: u32, owner: u64, pool: u32, ogen: u32) -> RowKey {
    RowKey {
        proc,
        owner,
        space,
        pool,
        ogen,
        reserved: 0,
    }
}
