//! Pure state: facts in, rows out. No I/O, no clock, no BPF.
//!
//! The kernel keeps the totals; these tables say whose they are and on which device they stand,
//! add what was recovered, and remember processes that ended for a while.

pub mod audit;
mod checkpoint;
mod devices;
mod ended;
pub mod event;
pub mod facts;
mod failures;
mod filter;
pub mod journal;
pub mod live;
pub mod moment;
pub mod order;
mod processes;
mod remote;
mod rows;
pub mod snapshot;

#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth_tests;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

pub use ended::{EXITED_SHOWN, EXITED_SHOWN_NS, Expired};
pub use filter::Filter;
pub use journal::{Batch, Fact, Follower, Replica};
use memmon_ebpf::ledger::{RowKey, RowValue};
use serde::{Deserialize, Serialize};

use self::{
    facts::{Baseline, OwnerId, Placement, PoolCapacity, Proc, ProcessFacts, RuntimeFacts, Since},
    processes::ProcessEntry,
    rows::{GroupKey, Row},
    snapshot::{Ending, Failure, Health, Library, Notice, Observer, SCHEMA, Snapshot},
};

/// How many failures, endings and notices are remembered, of each.
const KEPT: usize = 100;

/// How many peaks of devices are remembered at least: far more than a machine's devices have pools.
const DEVICE_PEAKS: usize = 512;

#[derive(Clone, Debug, Default)]
pub struct Tables {
    observer: Observer,
    host: String,
    runtimes: Vec<RuntimeFacts>,
    processes: BTreeMap<Proc, ProcessEntry>,
    /// By owner, then by the generation from which it holds.
    placements: BTreeMap<OwnerId, BTreeMap<u32, Placed>>,
    placed: u64,
    blind: bool,
    /// Looked at again and again: peaks are of what was seen.
    sampled: bool,
    /// The current generation of owners that had more than one.
    generations: BTreeMap<OwnerId, u32>,
    rows: BTreeMap<RowKey, Row>,
    /// The highest sum seen of each (process, device, pool).
    peaks: BTreeMap<GroupKey, i64>,
    device_peaks: HashMap<(DeviceKey, u32, u32), i64>,
    /// From how many on those of devices are dropped that nobody has.
    most_device_peaks: usize,
    libraries: Vec<Library>,
    failures: VecDeque<Failure>,
    /// How many there were.
    failed: u64,
    endings: VecDeque<Ending>,
    notices: VecDeque<Notice>,
    health: Health,
}

/// A placement, and when it was told: the latest allocator of a chip knows its pools best.
#[derive(Clone, Debug, Default)]
struct Placed {
    placement: Placement,
    order: u64,
}

/// A device that rows are summed by: its unique id where there is one, else the runtime's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKey {
    Uid(String),
    Id(i64),
    Unknown,
}

impl Tables {
    pub fn new(host: String, observer: Observer, runtimes: Vec<RuntimeFacts>) -> Self {
        Self {
            host,
            observer,
            runtimes,
            ..Self::default()
        }
    }

    /// No event is seen by this observation: what happened, and when most was held, is not known.
    pub fn nothing_seen(&mut self) {
        self.blind = true;
    }

    /// As [`Self::nothing_seen`], but looked at again and again: peaks are of what was seen.
    pub fn only_sampled(&mut self) {
        self.blind = true;
        self.sampled = true;
    }

    pub(super) fn knows_peaks(&self) -> bool {
        !self.blind || self.sampled
    }

    /// A process maps a runtime's library.
    pub fn process(&mut self, proc: Proc, facts: ProcessFacts) {
        self.processes.entry(proc).or_default().facts = facts;
    }

    pub fn knows_process(&self, proc: Proc) -> bool {
        self.processes.contains_key(&proc)
    }

    pub fn facts_of(&self, proc: Proc) -> Option<&ProcessFacts> {
        self.processes.get(&proc).map(|entry| &entry.facts)
    }

    /// Which runtimes' libraries of this process are understood. Where none is, its usage is
    /// unknown.
    pub fn understood(&mut self, proc: Proc, understood: bool) {
        let entry = self.processes.entry(proc).or_default();
        entry.understood = Some(entry.understood.unwrap_or(false) || understood);
    }

    pub fn since(&mut self, proc: Proc, since: Since) {
        if let Some(entry) = self.processes.get_mut(&proc) {
            entry.since = since;
        }
    }

    /// Whether what this runtime of the process held before memmon came was read.
    pub fn recovered(&mut self, proc: Proc, space: u32, known: bool) {
        if let Some(entry) = self.processes.get_mut(&proc) {
            if known {
                entry.recovered.insert(space);
            } else {
                entry.recovered.remove(&space);
            }
        }
    }

    /// What it did with this runtime before that was attached to is not known.
    pub fn unseen(&mut self, proc: Proc, space: u32) {
        if let Some(entry) = self.processes.get_mut(&proc) {
            entry.unseen.insert(space);
        }
    }

    /// Something the process allocated could not be read at all.
    pub fn inexact(&mut self, proc: Proc) {
        if let Some(entry) = self.processes.get_mut(&proc) {
            entry.inexact = true;
        }
    }

    /// What could not be read of it has been looked up since.
    pub fn exact(&mut self, proc: Proc) {
        if let Some(entry) = self.processes.get_mut(&proc) {
            entry.inexact = false;
        }
    }

    pub fn is_inexact(&self, proc: Proc) -> bool {
        // Of a process that is not known, it could not be told.
        self.processes.get(&proc).is_none_or(|entry| entry.inexact)
    }

    /// Whether what it did by this runtime is known from its beginning on.
    pub fn knows_past_of(&self, proc: Proc, space: u32) -> bool {
        let entry = self.processes.get(&proc);
        entry.is_some_and(|entry| entry.knows_past_of(space))
    }

    pub fn process_since(&self, proc: Proc) -> Option<Since> {
        self.processes.get(&proc).map(|entry| entry.since)
    }

    /// It became another program: what it held is gone, and it is no longer what was observed.
    pub fn forget_process(&mut self, proc: Proc) {
        self.processes.remove(&proc);
        // All of them are ordered by process first: what others have is not gone through.
        let row = RowKey {
            proc,
            ..RowKey::default()
        };
        remove(&mut self.rows, row, |key| key.proc == proc);
        let owner = OwnerId {
            proc,
            space: 0,
            owner: 0,
        };
        remove(&mut self.placements, owner, |owner| owner.proc == proc);
        remove(&mut self.generations, owner, |owner| owner.proc == proc);
        let group = GroupKey::first_of(proc);
        remove(&mut self.peaks, group, |key| key.proc == proc);
        self.forget_devices();
    }

    /// A device that comes back has its peak still; of those that come and go for ever, not all are remembered.
    fn forget_devices(&mut self) {
        if self.device_peaks.len() <= self.most_device_peaks.max(DEVICE_PEAKS) {
            return;
        }
        let placed = self.placements.values().flat_map(BTreeMap::values);
        let here: HashSet<DeviceKey> = placed
            .flat_map(|placed| &placed.placement.devices)
            .map(DeviceKey::of)
            .collect();
        self.device_peaks
            .retain(|(device, ..), _| here.contains(device));
        self.most_device_peaks = self.device_peaks.len() * 2;
    }

    /// How many processes are remembered, those that ended with them.
    pub fn remembered(&self) -> usize {
        self.processes.len()
    }

    pub fn running(&self) -> impl Iterator<Item = (Proc, u32)> + '_ {
        self.processes
            .iter()
            .filter(|(_, entry)| entry.exited_ns.is_none())
            .map(|(proc, entry)| (*proc, entry.facts.pid))
    }

    /// Where an owner's memory lies, from a generation on.
    pub fn placement(&mut self, owner: OwnerId, ogen: u32, placement: Placement) {
        self.placed += 1;
        let placement = Placed {
            placement,
            order: self.placed,
        };
        self.placements
            .entry(owner)
            .or_default()
            .insert(ogen, placement);
    }

    /// An owner came into being at an address that another one may have had.
    pub fn owner_opened(&mut self, owner: OwnerId, ogen: u32) {
        self.generation(owner, ogen);
        // Unknown until its first allocation.
        self.placements
            .entry(owner)
            .or_default()
            .entry(ogen)
            .or_default();
    }

    /// All that the owner held in this generation is free.
    pub fn freed_all(&mut self, owner: OwnerId, ended: u32) {
        self.generation(owner, ended.wrapping_add(1));
    }

    /// The owner is in this generation now: rows of older ones hold nothing.
    pub fn generation(&mut self, owner: OwnerId, ogen: u32) {
        let current = self.generations.entry(owner).or_default();
        *current = (*current).max(ogen);
    }

    /// What an owner held before memmon came.
    pub fn baseline(&mut self, key: RowKey, baseline: Baseline) {
        self.rows.entry(key).or_default().baseline = baseline;
    }

    /// A row as the kernel has it now: absolute, so that being told twice does no harm.
    pub fn row(&mut self, key: RowKey, value: RowValue) {
        let row = self.rows.entry(key).or_default();
        // A read from before the last one (they may overtake each other) is old news.
        if value.sequence >= row.kernel.sequence {
            row.kernel = value;
        }
    }

    /// Whether this is news of the row.
    pub fn is_new(&self, key: &RowKey, value: &RowValue) -> bool {
        self.rows
            .get(key)
            .is_none_or(|row| value.sequence > row.kernel.sequence)
    }

    /// A row as it was last told, or as events left it.
    pub fn row_of(&self, key: &RowKey) -> Option<&RowValue> {
        self.rows.get(key).map(|row| &row.kernel)
    }

    /// What is known to have been held before; nothing where the row is new.
    pub fn baseline_of(&self, key: &RowKey) -> Baseline {
        self.rows
            .get(key)
            .map(|row| row.baseline)
            .unwrap_or_default()
    }

    /// A row's numbers, with what the kernel did not count.
    pub fn row_with_baseline(&self, key: &RowKey) -> Row {
        self.rows.get(key).copied().unwrap_or_default()
    }

    pub fn capacity_of(&self, key: &RowKey) -> Option<PoolCapacity> {
        let placement = self.placement_of(&OwnerId::of(key), key.ogen)?;
        placement.pools.get(&key.pool).copied()
    }

    pub fn current_generation(&self, owner: &OwnerId) -> u32 {
        self.generations.get(owner).copied().unwrap_or_default()
    }

    /// Whether it was told where the owner's memory lies, of this very generation.
    pub fn is_placed(&self, owner: &OwnerId, ogen: u32) -> bool {
        self.placements
            .get(owner)
            .and_then(|generations| generations.get(&ogen))
            .is_some_and(|placed| !placed.placement.devices.is_empty())
    }

    pub fn libraries(&mut self, mut libraries: Vec<Library>) {
        order::sort_libraries(&mut libraries);
        self.libraries = libraries;
    }

    pub fn known_libraries(&self) -> &[Library] {
        &self.libraries
    }

    pub fn known_health(&self) -> &Health {
        &self.health
    }

    pub fn health(&mut self, health: Health) {
        self.health = health;
    }

    /// Everything, as a view shows it.
    pub fn snapshot(&self, taken_at: String) -> Snapshot {
        let mut snapshot = Snapshot {
            schema: SCHEMA.to_owned(),
            taken_at,
            host: self.host.clone(),
            observer: self.observer.clone(),
            health: self.health.clone(),
            libraries: self.libraries.clone(),
            devices: self.device_rows(),
            processes: self.process_rows(),
            failures: self.failures.iter().cloned().collect(),
            endings: self.endings.iter().cloned().collect(),
            notices: self.notices.iter().cloned().collect(),
        };
        snapshot.count_inexact_rows();
        snapshot
    }
}

/// Removes what follows `first`, as long as it is `of` the same.
fn remove<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, first: K, of: impl Fn(&K) -> bool) {
    let keys: Vec<K> = map
        .range(first..)
        .map(|(key, _)| key.clone())
        .take_while(of)
        .collect();
    for key in &keys {
        map.remove(key);
    }
}
