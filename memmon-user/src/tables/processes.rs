//! The process part of a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use memmon_ebpf::ledger::RowKey;

use super::{
    DeviceKey, Tables,
    facts::{DeviceFacts, Proc, ProcessFacts, Since},
    order,
    rows::{Amounts, GroupKey},
    snapshot::{Process, Usage},
};

#[derive(Clone, Debug, Default)]
pub struct ProcessEntry {
    pub facts: ProcessFacts,
    pub since: Since,
    /// The runtimes of which the past is known, where it is not known of all of them.
    pub recovered: BTreeSet<u32>,
    /// Runtimes whose beginnings nobody saw, whatever `since` says of the others.
    pub unseen: BTreeSet<u32>,
    /// None while it is not known; false where its library is not understood.
    pub understood: Option<bool>,
    pub exited_ns: Option<u64>,
    /// An allocation of it could not be read at all.
    pub inexact: bool,
}

impl ProcessEntry {
    /// Whether all that the process did by this runtime is known.
    pub fn knows_all_of(&self, space: u32) -> bool {
        self.knows_past_of(space) && !self.inexact
    }

    /// Whether what the process did by this runtime is known from its beginning on.
    pub(super) fn knows_past_of(&self, space: u32) -> bool {
        let known = self.since != Since::Attach || self.recovered.contains(&space);
        known && !self.misses_beginning(space)
    }

    /// Whether this runtime was there before its probes, whatever `since` says of the others.
    fn misses_beginning(&self, space: u32) -> bool {
        self.unseen.contains(&space) && !self.recovered.contains(&space)
    }
}

impl Tables {
    pub(super) fn process_rows(&self) -> Vec<Process> {
        self.processes
            .iter()
            .filter_map(|(proc, entry)| self.process_row(entry, self.groups_of(*proc)))
            .collect()
    }

    pub fn pid_of(&self, proc: Proc) -> Option<u32> {
        self.processes.get(&proc).map(|entry| entry.facts.pid)
    }

    pub fn has_exited(&self, proc: Proc) -> bool {
        self.processes
            .get(&proc)
            .is_some_and(|entry| entry.exited_ns.is_some())
    }

    pub(super) fn process_of(&self, proc: Proc) -> Option<Process> {
        self.process_row(self.processes.get(&proc)?, self.groups_of(proc))
    }

    fn groups_of(&self, proc: Proc) -> BTreeMap<GroupKey, (DeviceFacts, Amounts)> {
        let mut groups = BTreeMap::<GroupKey, (DeviceFacts, Amounts)>::new();
        let first = RowKey {
            proc,
            ..RowKey::default()
        };
        let rows = self.rows.range(first..);
        for (key, row) in rows.take_while(|(key, _)| key.proc == proc) {
            let amounts = self.amounts(key, row);
            for device in self.devices_of(key) {
                let group = GroupKey {
                    proc,
                    space: key.space,
                    device: DeviceKey::of(&device),
                    pool: key.pool,
                };
                groups
                    .entry(group)
                    .or_insert_with(|| (device, Amounts::default()))
                    .1
                    .add(&amounts);
            }
        }
        groups
    }

    fn process_row(
        &self,
        entry: &ProcessEntry,
        rows: BTreeMap<GroupKey, (DeviceFacts, Amounts)>,
    ) -> Option<Process> {
        let ProcessEntry {
            facts,
            since,
            unseen: _,
            understood,
            exited_ns,
            inexact,
            recovered: _,
        } = entry;
        // It is the whole process's: of one part the beginning is missing.
        let since = match rows.keys().any(|key| entry.misses_beginning(key.space)) {
            true => Since::Attach,
            false => *since,
        };
        let mut usage: Vec<Usage> = rows
            .into_iter()
            .filter(|(_, (_, amounts))| amounts.ever_held())
            .map(|(key, (device, amounts))| {
                self.usage_row(&key, &device, &amounts, entry.knows_all_of(key.space))
            })
            .collect();
        order::sort_usage(&mut usage);
        // Not even its rows could be kept: that there are none says nothing.
        let unknown = understood == &Some(false) || (*inexact && usage.is_empty());
        if usage.is_empty() && exited_ns.is_some() && !unknown {
            // It ended without ever having held anything.
            return None;
        }
        Some(Process {
            pid: facts.pid,
            start_time: facts.start_time.clone(),
            comm: facts.comm.clone(),
            command: facts.command.clone(),
            uid: facts.uid,
            user: facts.user.clone(),
            cgroup: facts.cgroup.clone(),
            state: if exited_ns.is_some() {
                "exited"
            } else {
                "running"
            }
            .to_owned(),
            since: since.name().to_owned(),
            usage: (!unknown).then_some(usage),
        })
    }

    fn usage_row(
        &self,
        key: &GroupKey,
        device: &DeviceFacts,
        amounts: &Amounts,
        complete: bool,
    ) -> Usage {
        let charged = self.is_charged(key.space, key.pool);
        let peak = self.peaks.get(key).copied().unwrap_or_default();
        let known = |number: i64| u64::try_from(number).ok();
        let seen = |number: u64| (!self.blind).then_some(number);
        Usage {
            runtime: self.runtime_name(key.space),
            device: device.id,
            device_uid: device.uid.clone(),
            pool: self.pool_name(key.space, key.pool),
            requested_bytes: known(amounts.requested),
            charged_bytes: known(amounts.charged).filter(|_| charged),
            peak_charged_bytes: known(peak.max(amounts.peak_charged))
                .filter(|_| charged && self.knows_peaks()),
            live_allocations: known(amounts.live),
            allocations: seen(amounts.allocations),
            frees: seen(amounts.frees),
            failed_allocations: seen(amounts.failed),
            rebased: amounts.rebased.into(),
            uncharged: !charged,
            exact: complete && !amounts.inexact && amounts.charged >= 0 && amounts.live >= 0,
        }
    }
}
