//! What each process holds of each pool of each device, kept up to date event by event.

use std::collections::{BTreeSet, HashMap, HashSet};

use memmon_ebpf::ledger::RowKey;

use crate::tables::{
    DeviceKey, Fact, Filter, Tables,
    event::Event,
    facts::{DeviceFacts, Proc},
};

/// A process on a device in a pool.
#[derive(Clone, Debug)]
pub struct Track {
    pub proc: Proc,
    pub space: u32,
    pub pool: u32,
    pub device: DeviceFacts,
    pub charged: i64,
    pub live: i64,
}

/// A track that changed, and what it held before.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub track: usize,
    pub before: i64,
}

#[derive(Debug)]
pub struct Totals<'a> {
    filter: &'a Filter,
    pub tracks: Vec<Track>,
    places: HashMap<(Proc, u32, u32, DeviceKey), usize>,
    /// The tracks that a row counts for, and what it held last.
    rows: HashMap<RowKey, (Vec<usize>, (i64, i64))>,
    /// Processes of which something was told that is no event.
    told: BTreeSet<Proc>,
    ended: HashSet<Proc>,
}

impl<'a> Totals<'a> {
    pub fn new(filter: &'a Filter) -> Self {
        Self {
            filter,
            tracks: Vec::new(),
            places: HashMap::new(),
            rows: HashMap::new(),
            told: BTreeSet::new(),
            ended: HashSet::new(),
        }
    }

    /// What is held from the beginning on.
    pub fn start(&mut self, tables: &Tables) -> Vec<Change> {
        let running = tables.running().map(|(proc, _)| proc);
        self.told.extend(running);
        self.settle(tables)
    }

    /// The first of the tracks that an event is about.
    pub fn of_event(&self, event: &Event) -> Option<&Track> {
        let (tracks, _) = self.rows.get(&event.row)?;
        self.tracks.get(*tracks.first()?)
    }

    /// Takes in a fact that the tables have taken in; what changed by it, and by what was told
    /// before it.
    pub fn take(&mut self, tables: &Tables, fact: &Fact) -> Vec<Change> {
        match fact {
            Fact::Start { .. } => {
                self.rows.clear();
                let known = self.tracks.iter().map(|track| track.proc);
                self.told.extend(known);
                Vec::new()
            }
            Fact::Event(event) => {
                let mut changes = self.settle(tables);
                changes.extend(self.event(tables, event));
                changes
            }
            // At once: it holds from here on, not from the next event on.
            Fact::FreedAll { owner, .. } => {
                self.told.insert(owner.proc);
                self.settle(tables)
            }
            Fact::Exited { proc, .. } | Fact::Forget { proc } => {
                self.told.insert(*proc);
                self.ended.insert(*proc);
                self.settle(tables)
            }
            Fact::Process { proc, .. } | Fact::Understood { proc, .. } => {
                self.told.insert(*proc);
                Vec::new()
            }
            Fact::Placement { owner, .. } | Fact::Generation { owner, .. } => {
                self.told.insert(owner.proc);
                Vec::new()
            }
            Fact::Baseline { key, .. } | Fact::Row { key, .. } => {
                self.told.insert(key.proc);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Looks again at the processes of which something was told.
    pub fn settle(&mut self, tables: &Tables) -> Vec<Change> {
        let mut changes = Vec::new();
        for proc in std::mem::take(&mut self.told) {
            self.rows.retain(|row, _| row.proc != proc);
            self.recount(tables, proc, &mut changes);
        }
        changes
    }

    fn event(&mut self, tables: &Tables, event: &Event) -> Vec<Change> {
        let now = tables.held_in(&event.row);
        let Some((tracks, last)) = self.rows.get_mut(&event.row) else {
            let mut changes = Vec::new();
            self.recount(tables, event.proc, &mut changes);
            let devices = tables.devices_of(&event.row);
            let tracks = devices
                .into_iter()
                .map(|device| self.place(&event.row, device))
                .collect();
            self.rows.insert(event.row, (tracks, now));
            return changes;
        };
        let charged = now.0.saturating_sub(last.0);
        let live = now.1.saturating_sub(last.1);
        *last = now;
        let mut changes = Vec::new();
        for at in tracks {
            if let Some(track) = self.tracks.get_mut(*at)
                && (charged, live) != (0, 0)
            {
                changes.push(Change {
                    track: *at,
                    before: track.charged,
                });
                track.charged = track.charged.saturating_add(charged);
                track.live = track.live.saturating_add(live);
            }
        }
        changes
    }

    /// What a process holds, as the tables have it.
    fn recount(&mut self, tables: &Tables, proc: Proc, changes: &mut Vec<Change>) {
        let mut sums = HashMap::<usize, (i64, i64)>::new();
        if !self.ended.contains(&proc) {
            for row in tables.rows_of(proc) {
                let (charged, live) = tables.held_in(&row);
                for device in tables.devices_of(&row) {
                    let sum = sums.entry(self.place(&row, device)).or_default();
                    sum.0 = sum.0.saturating_add(charged);
                    sum.1 = sum.1.saturating_add(live);
                }
                if let Some((_, last)) = self.rows.get_mut(&row) {
                    *last = (charged, live);
                }
            }
        }
        for (at, track) in self.tracks.iter_mut().enumerate() {
            if track.proc != proc {
                continue;
            }
            let (charged, live) = sums.get(&at).copied().unwrap_or_default();
            if (charged, live) != (track.charged, track.live) {
                changes.push(Change {
                    track: at,
                    before: track.charged,
                });
                track.charged = charged;
                track.live = live;
            }
        }
    }

    fn place(&mut self, row: &RowKey, device: DeviceFacts) -> usize {
        let key = (row.proc, row.space, row.pool, DeviceKey::of(&device));
        *self.places.entry(key).or_insert_with(|| {
            self.tracks.push(Track {
                proc: row.proc,
                space: row.space,
                pool: row.pool,
                device,
                charged: 0,
                live: 0,
            });
            self.tracks.len() - 1
        })
    }

    /// Whether it is asked for.
    pub fn takes(&self, tables: &Tables, track: &Track) -> bool {
        let pid = tables.facts_of(track.proc).map_or(0, |facts| facts.pid);
        self.filter.takes_pid(pid)
            && self.filter.takes_device(track.device.id)
            && (self.filter.runtimes.is_empty()
                || self.filter.takes_runtime(&tables.runtime_name(track.space)))
    }
}
