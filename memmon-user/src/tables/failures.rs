//! What one wants to know after the fact: allocations that failed, processes that ended holding
//! memory, and what became of the observation.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use memmon_ebpf::ledger::RowKey;

use super::{
    DeviceKey, KEPT, Tables,
    event::Event,
    facts::{PoolCapacity, Proc},
    moment::Moment,
    snapshot::{Ending, Failure, Holder, Notice},
};

/// How many holders a failure names.
const HOLDERS: usize = 10;

impl Tables {
    /// A failure in words, with who held the memory at that moment.
    pub fn describe_failure(&self, event: &Event, moment: &Moment, at: String) -> Failure {
        let key = &event.row;
        let charged = self.is_charged(key.space, key.pool);
        let devices = self.devices_of(key);
        let capacity = self.capacity_of(key).filter(|_| charged);
        Failure {
            at,
            pid: event.pid,
            tid: event.tid,
            comm: self
                .processes
                .get(&event.proc)
                .map(|entry| entry.facts.comm.clone())
                .unwrap_or_default(),
            runtime: self.runtime_name(key.space),
            devices: devices.iter().map(|device| device.id).collect(),
            pool: self.pool_name(key.space, key.pool),
            requested_bytes: event.requested,
            needed_bytes: charged.then_some(event.charged),
            error_code: event.error_code(),
            api: None,
            number: self.failed + 1,
            capacity_bytes: capacity.map(|capacity| capacity.bytes),
            free_bytes: capacity.and_then(|capacity| self.free(key, &capacity, moment)),
            largest_free_bytes_per_bank: None,
            banks: capacity.map(|capacity| capacity.banks),
            holders: match devices.first() {
                Some(device) if charged => {
                    self.holders(key.space, &DeviceKey::of(device), key.pool, moment)
                }
                _ => Vec::new(),
            },
        }
    }

    /// What was free; none where what was held is not known for sure.
    fn free(&self, key: &RowKey, capacity: &PoolCapacity, moment: &Moment) -> Option<u64> {
        let process = self.processes.get(&key.proc)?;
        if !process.is_whole(key.space) {
            return None;
        }
        let held = match self.rows.get(key) {
            Some(row) => {
                let amounts = self.amounts(key, row);
                if amounts.inexact {
                    return None;
                }
                amounts.charged.saturating_add(moment.of(key).charged)
            }
            None => 0,
        };
        capacity.bytes.checked_sub(u64::try_from(held).ok()?)
    }

    /// Running processes that held memory of a pool, the largest first.
    fn holders(&self, space: u32, device: &DeviceKey, pool: u32, moment: &Moment) -> Vec<Holder> {
        let mut sums = BTreeMap::<Proc, (i64, i64)>::new();
        for (key, row) in &self.rows {
            if key.space != space || key.pool != pool {
                continue;
            }
            let on_it = self
                .devices_of(key)
                .iter()
                .any(|on| DeviceKey::of(on) == *device);
            if on_it {
                let amounts = self.amounts(key, row);
                let change = moment.of(key);
                let sum = sums.entry(key.proc).or_default();
                let charged = amounts.charged.saturating_add(change.charged);
                sum.0 = sum.0.saturating_add(charged);
                let live = amounts.live.saturating_add(change.live);
                sum.1 = sum.1.saturating_add(live);
            }
        }
        let mut holders: Vec<Holder> = sums
            .into_iter()
            .filter_map(|(proc, (charged, live))| {
                let entry = self.processes.get(&proc)?;
                let charged_bytes = u64::try_from(charged).ok()?;
                (charged_bytes > 0 && entry.exited_ns.is_none()).then(|| Holder {
                    pid: entry.facts.pid,
                    comm: entry.facts.comm.clone(),
                    uid: entry.facts.uid,
                    user: entry.facts.user.clone(),
                    charged_bytes,
                    live_allocations: u64::try_from(live).ok(),
                })
            })
            .collect();
        holders.sort_by_key(|holder| Reverse(holder.charged_bytes));
        holders.truncate(HOLDERS);
        holders
    }

    /// What a process that ends still holds; none where that is nothing.
    pub fn describe_ending(&self, proc: Proc, at: String) -> Option<Ending> {
        let process = self.process_of(proc)?;
        let held: Vec<_> = process
            .usage?
            .into_iter()
            .filter(|row| {
                row.charged_bytes.is_some_and(|bytes| bytes > 0)
                    && row.live_allocations.is_none_or(|live| live > 0)
            })
            .collect();
        (!held.is_empty()).then_some(Ending {
            at,
            pid: process.pid,
            comm: process.comm,
            user: process.user,
            held,
        })
    }

    pub fn failure(&mut self, failure: Failure) {
        self.failed = self.failed.max(failure.number);
        keep(&mut self.failures, failure);
    }

    /// The largest free block, found out a moment after the failure.
    pub fn largest_free(&mut self, failure: u64, bytes_per_bank: u64) {
        if let Some(failure) = self.failures.iter_mut().find(|kept| kept.number == failure) {
            failure.largest_free_bytes_per_bank = Some(bytes_per_bank);
        }
    }

    pub fn ending(&mut self, ending: Ending) {
        keep(&mut self.endings, ending);
    }

    pub fn notice(&mut self, notice: Notice) {
        keep(&mut self.notices, notice);
    }
}

fn keep<T>(list: &mut VecDeque<T>, one: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(one);
}
