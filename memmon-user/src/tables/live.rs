//! Allocations that are live, one by one.

use std::collections::HashMap;

use memmon_ebpf::ledger::{LiveKey, LiveValue, RowKey, live_flag};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    DeviceKey, Tables,
    event::{Event, EventKind},
    facts::{OwnerId, Proc},
    journal::Fact,
};

/// An allocation, as the ledger keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveEntry {
    pub proc: Proc,
    pub space: u32,
    pub key: u64,
    pub owner: u64,
    pub pool: u32,
    pub ogen: u32,
    pub requested: u64,
    pub charged: u64,
    pub address: u64,
    /// Nanoseconds since boot; 0 where it was recovered.
    pub since_ns: u64,
    /// The thread that made it; 0 where it was recovered.
    pub tid: u32,
    /// The function that made it, see [`memmon_ebpf::spec::ProbeSpec::label`]. A number of this very
    /// observation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What identifies an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LiveId {
    pub proc: Proc,
    pub space: u32,
    pub key: u64,
}

impl LiveEntry {
    /// None where it is only the trace of a free.
    pub fn of(key: &LiveKey, value: &LiveValue) -> Option<Self> {
        if value.flags & live_flag::TOMBSTONE != 0 {
            return None;
        }
        Some(Self {
            proc: key.proc,
            space: key.space,
            key: key.key,
            owner: value.owner,
            pool: value.pool,
            ogen: value.ogen,
            requested: value.requested,
            charged: value.charged,
            address: value.address,
            since_ns: value.since_ns,
            tid: value.tid,
            label: value.label,
        })
    }

    pub fn of_event(event: &Event) -> Self {
        Self {
            proc: event.proc,
            space: event.row.space,
            key: event.key,
            owner: event.row.owner,
            pool: event.row.pool,
            ogen: event.row.ogen,
            requested: event.requested,
            charged: event.charged,
            address: event.address,
            since_ns: event.time_ns,
            tid: event.tid,
            label: 0,
        }
    }

    pub fn id(&self) -> LiveId {
        LiveId {
            proc: self.proc,
            space: self.space,
            key: self.key,
        }
    }

    pub fn owner_id(&self) -> OwnerId {
        OwnerId {
            proc: self.proc,
            space: self.space,
            owner: self.owner,
        }
    }

    pub fn row_key(&self) -> RowKey {
        RowKey {
            proc: self.proc,
            owner: self.owner,
            space: self.space,
            pool: self.pool,
            ogen: self.ogen,
            reserved: 0,
        }
    }
}

/// All that is live, kept up to date by what is told.
#[derive(Clone, Debug, Default)]
pub struct Live {
    entries: HashMap<LiveId, LiveEntry>,
}

impl Live {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, id: &LiveId) -> Option<&LiveEntry> {
        self.entries.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &LiveEntry> {
        self.entries.values()
    }

    /// Takes in a fact. Telling one twice, or an old one again, ends in the same state as long as
    /// what came after it is told again, too.
    pub fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Start { .. } => self.entries.clear(),
            Fact::Event(event) => match event.kind {
                EventKind::Alloc | EventKind::Unfreed => {
                    let entry = LiveEntry::of_event(event);
                    self.entries.insert(entry.id(), entry);
                }
                EventKind::Free => {
                    self.entries.remove(&LiveId {
                        proc: event.proc,
                        space: event.row.space,
                        key: event.key,
                    });
                }
                EventKind::Failed | EventKind::UnknownFree | EventKind::Register => {}
            },
            Fact::Live(entries) => {
                self.entries
                    .extend(entries.iter().map(|entry| (entry.id(), *entry)));
            }
            Fact::Gone(entries) => {
                for id in entries {
                    self.entries.remove(id);
                }
            }
            Fact::FreedAll { owner, ended } => {
                self.entries
                    .retain(|_, entry| entry.owner_id() != *owner || entry.ogen > *ended);
            }
            Fact::Forget { proc } => self.entries.retain(|id, _| id.proc != *proc),
            Fact::Exited { proc, .. } => self.entries.retain(|id, _| id.proc != *proc),
            _ => {}
        }
    }
}

/// Which live allocations are asked for. What is empty takes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveAsk {
    pub pids: Vec<u32>,
    pub device: Option<DeviceAsk>,
    pub pool: Option<String>,
    /// The most that are listed, the largest first; 0: as many as [`LiveAsk::MOST`].
    pub limit: usize,
}

/// The question, and where the answer goes. A sender that is dropped means: not now.
#[derive(Debug)]
pub struct Inspect {
    pub ask: LiveAsk,
    pub reply: oneshot::Sender<LiveList>,
}

/// A device, as a snapshot names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAsk {
    pub runtime: String,
    pub device: Option<i64>,
    pub device_uid: Option<String>,
}

impl LiveAsk {
    pub const MOST: usize = 1 << 16;

    fn limit(&self) -> usize {
        match self.limit {
            0 => Self::MOST,
            limit => limit.min(Self::MOST),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveList {
    pub taken_at: String,
    /// The largest charged first.
    pub allocations: Vec<LiveAllocation>,
    /// How many more there are than are listed, and what they are charged in all.
    pub omitted: u64,
    pub omitted_bytes: u64,
    /// The address ranges of the pools that were asked for, one an allocator (a process may have
    /// several on one device, and they know nothing of each other).
    pub ranges: Vec<PoolRange>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAllocation {
    pub pid: u32,
    /// The thread that made it; none where it was recovered.
    pub tid: Option<u32>,
    pub runtime: String,
    /// Every device that it stands on, with its bytes on each.
    pub devices: Vec<DeviceAsk>,
    pub pool: String,
    /// What its free will name: a pointer, a handle, the address of a buffer object.
    pub key: u64,
    /// The function that the program called for it; none where that is not known.
    pub api: Option<String>,
    /// The allocator; equal to the `owner` of one of the ranges.
    pub owner: u64,
    /// Where it begins, in each bank of the pool.
    pub address: u64,
    pub requested_bytes: u64,
    /// On each device, over all banks; none where the pool's bytes are not charged.
    pub charged_bytes: Option<u64>,
    /// None where it was recovered.
    pub age_ns: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRange {
    pub pid: u32,
    pub owner: u64,
    pub devices: Vec<DeviceAsk>,
    pub pool: String,
    /// The first address of each bank.
    pub base: Option<u64>,
    pub banks: u64,
    pub bytes_per_bank: u64,
}

/// A list that is being made: entries are taken one by one, as they are read.
#[derive(Debug)]
pub struct Listing<'a> {
    tables: &'a Tables,
    ask: &'a LiveAsk,
    /// What all of a row have in common; none where they are not asked for.
    patterns: HashMap<RowKey, Option<LiveAllocation>>,
    found: Vec<LiveEntry>,
}

impl Listing<'_> {
    /// It may be freed already (all at once, or with its process), or not be asked for: then it is
    /// left out.
    pub fn take(&mut self, entry: LiveEntry) {
        let key = entry.row_key();
        let pattern = self
            .patterns
            .entry(key)
            .or_insert_with(|| self.tables.live_pattern(&key, self.ask));
        if pattern.is_some() {
            self.found.push(entry);
        }
    }

    /// `api` says which function has a [`LiveEntry::label`].
    pub fn finish(
        mut self,
        now_ns: u64,
        taken_at: String,
        api: impl Fn(u32) -> Option<String>,
    ) -> LiveList {
        let largest_first = |a: &LiveEntry, b: &LiveEntry| {
            (b.charged, b.requested, a.key).cmp(&(a.charged, a.requested, b.key))
        };
        let limit = self.ask.limit().min(self.found.len());
        if limit < self.found.len() {
            // Those that are not listed need no order.
            self.found.select_nth_unstable_by(limit, largest_first);
        }
        let (listed, omitted) = self.found.split_at_mut(limit);
        listed.sort_unstable_by(largest_first);
        let allocations = listed.iter().filter_map(|entry| {
            let pattern = self.patterns.get(&entry.row_key())?.clone()?;
            Some(LiveAllocation {
                tid: (entry.tid != 0).then_some(entry.tid),
                key: entry.key,
                api: api(entry.label),
                address: entry.address,
                requested_bytes: entry.requested,
                charged_bytes: pattern.charged_bytes.map(|_| entry.charged),
                age_ns: (entry.since_ns != 0).then(|| now_ns.saturating_sub(entry.since_ns)),
                ..pattern
            })
        });
        LiveList {
            taken_at,
            allocations: allocations.collect(),
            omitted: omitted.len() as u64,
            omitted_bytes: omitted
                .iter()
                .fold(0, |sum, entry| sum.saturating_add(entry.charged)),
            ranges: self.tables.ranges(self.ask),
        }
    }
}

impl Tables {
    /// The allocations that are asked for, in words, of all that will be told.
    pub fn listing<'a>(&'a self, ask: &'a LiveAsk) -> Listing<'a> {
        Listing {
            tables: self,
            ask,
            patterns: HashMap::new(),
            found: Vec::new(),
        }
    }

    /// Of these entries.
    pub fn live_list(
        &self,
        entries: impl IntoIterator<Item = LiveEntry>,
        ask: &LiveAsk,
        now_ns: u64,
        taken_at: String,
    ) -> LiveList {
        let mut listing = self.listing(ask);
        for entry in entries {
            listing.take(entry);
        }
        listing.finish(now_ns, taken_at, |_| None)
    }

    /// What all allocations of a row have in common; none where they are not asked for.
    fn live_pattern(&self, key: &RowKey, ask: &LiveAsk) -> Option<LiveAllocation> {
        let entry = self.processes.get(&key.proc)?;
        if entry.exited_ns.is_some() || self.is_closed(key) {
            return None;
        }
        let pattern = LiveAllocation {
            pid: entry.facts.pid,
            runtime: self.runtime_name(key.space),
            devices: self.device_asks(key.space, &self.devices_of(key)),
            pool: self.pool_name(key.space, key.pool),
            owner: key.owner,
            charged_bytes: self.is_charged(key.space, key.pool).then_some(0),
            ..LiveAllocation::default()
        };
        let LiveAsk {
            pids,
            device,
            pool,
            limit: _,
        } = ask;
        let wanted = (pids.is_empty() || pids.contains(&pattern.pid))
            && pool.as_ref().is_none_or(|pool| *pool == pattern.pool)
            && device
                .as_ref()
                .is_none_or(|device| pattern.devices.iter().any(|on| on.is_same(device)));
        wanted.then_some(pattern)
    }

    fn ranges(&self, ask: &LiveAsk) -> Vec<PoolRange> {
        let mut ranges = Vec::new();
        for key in self.rows.keys() {
            let Some(pattern) = self.live_pattern(key, ask) else {
                continue;
            };
            let Some(capacity) = self
                .placement_of(&OwnerId::of(key), key.ogen)
                .and_then(|placement| placement.pools.get(&key.pool))
            else {
                continue;
            };
            if capacity.bytes == 0 || capacity.banks == 0 {
                continue;
            }
            ranges.push(PoolRange {
                pid: pattern.pid,
                owner: key.owner,
                devices: pattern.devices,
                pool: pattern.pool,
                base: capacity.base,
                banks: capacity.banks,
                bytes_per_bank: capacity.bytes / capacity.banks,
            });
        }
        ranges
    }

    pub(super) fn device_asks(
        &self,
        space: u32,
        devices: &[super::facts::DeviceFacts],
    ) -> Vec<DeviceAsk> {
        devices
            .iter()
            .map(|device| DeviceAsk {
                runtime: self.runtime_name(space),
                device: device.id,
                device_uid: device.uid.clone(),
            })
            .collect()
    }
}

impl DeviceAsk {
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |device: &Self| match (&device.device_uid, device.device) {
            (Some(uid), _) => DeviceKey::Uid(uid.clone()),
            (None, Some(id)) => DeviceKey::Id(id),
            (None, None) => DeviceKey::Unknown,
        };
        self.runtime == other.runtime && key(self) == key(other)
    }
}
