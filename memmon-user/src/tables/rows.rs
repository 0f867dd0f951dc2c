//! One row: a pool of an owner, in one generation; and how rows add up.

use memmon_ebpf::ledger::{RowKey, RowValue};
use serde::{Deserialize, Serialize};

use super::{
    DeviceKey, Tables,
    facts::{Baseline, DeviceFacts, OwnerId, Placement, Proc},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub kernel: RowValue,
    pub baseline: Baseline,
}

/// What usage is grouped by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    pub proc: Proc,
    pub space: u32,
    pub device: DeviceKey,
    pub pool: u32,
}

impl GroupKey {
    /// Before all others of this process.
    pub fn first_of(proc: Proc) -> Self {
        Self {
            proc,
            space: 0,
            device: DeviceKey::Uid(String::new()),
            pool: 0,
        }
    }
}

/// The highest sum so far: of a process, or (without `proc`) of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakFact {
    pub proc: Option<Proc>,
    pub space: u32,
    pub device: DeviceKey,
    pub pool: u32,
    pub charged: i64,
}

/// A row's numbers, the recovered ones included. Signed: a negative number is a sign of a missed
/// past, and is shown as unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub requested: i64,
    pub charged: i64,
    pub peak_charged: i64,
    pub live: i64,
    pub allocations: u64,
    pub frees: u64,
    pub failed: u64,
    pub inexact: bool,
    /// How often an audit corrected it.
    pub rebased: u32,
}

impl Row {
    /// `closed`: everything it held was freed at once.
    pub fn amounts(&self, closed: bool) -> Amounts {
        let Self { kernel, baseline } = self;
        let recovered = baseline.live.max(0).unsigned_abs();
        let allocations = kernel.allocations;
        let peak = self.peak_charged();
        let rebased = baseline.rebase.map_or(0, |rebase| rebase.times);
        let inexact = kernel.inexact.saturating_add(baseline.doubts) > baseline.forgiven;
        if closed {
            return Amounts {
                peak_charged: peak,
                allocations,
                // All that was ever live, however it ended.
                frees: allocations.saturating_add(recovered),
                failed: kernel.failed,
                inexact,
                rebased,
                ..Amounts::default()
            };
        }
        Amounts {
            requested: kernel.requested.wrapping_add(baseline.requested),
            charged: kernel.charged.wrapping_add(baseline.charged),
            peak_charged: peak,
            live: kernel.live.wrapping_add(baseline.live),
            allocations,
            frees: kernel.frees,
            failed: kernel.failed,
            inexact,
            rebased,
        }
    }

    /// The kernel's own peak counts from before a correction, and is only one from then on where
    /// it has risen since.
    pub fn peak_charged(&self) -> i64 {
        let Self { kernel, baseline } = self;
        let peak = kernel.peak_charged.max(0).saturating_add(baseline.charged);
        match baseline.rebase {
            None => peak,
            Some(rebase) if kernel.peak_charged > rebase.kernel_peak => peak.max(rebase.peak),
            Some(rebase) => rebase.peak,
        }
    }
}

impl Amounts {
    /// Whether there is anything to say about it.
    pub fn ever_held(&self) -> bool {
        *self != Self::default()
    }

    /// Rows side by side. Peaks at different times do not add up: the highest sum that was seen is
    /// kept elsewhere, this is the least it can have been.
    pub fn add(&mut self, other: &Self) {
        self.requested = self.requested.saturating_add(other.requested);
        self.charged = self.charged.saturating_add(other.charged);
        self.peak_charged = self.peak_charged.max(other.peak_charged);
        self.live = self.live.saturating_add(other.live);
        self.allocations = self.allocations.saturating_add(other.allocations);
        self.frees = self.frees.saturating_add(other.frees);
        self.failed = self.failed.saturating_add(other.failed);
        self.inexact |= other.inexact;
        self.rebased = self.rebased.saturating_add(other.rebased);
    }
}

impl DeviceKey {
    pub fn of(device: &DeviceFacts) -> Self {
        match (&device.uid, device.id) {
            (Some(uid), _) => Self::Uid(uid.clone()),
            (None, Some(id)) => Self::Id(id),
            (None, None) => Self::Unknown,
        }
    }
}

impl Tables {
    pub fn is_closed(&self, key: &RowKey) -> bool {
        self.generations
            .get(&OwnerId::of(key))
            .is_some_and(|current| key.ogen < *current)
    }

    pub(super) fn amounts(&self, key: &RowKey, row: &Row) -> Amounts {
        row.amounts(self.is_closed(key))
    }

    /// Charged bytes and live allocations of a row.
    pub fn held_in(&self, key: &RowKey) -> (i64, i64) {
        self.rows.get(key).map_or((0, 0), |row| {
            let amounts = self.amounts(key, row);
            (amounts.charged, amounts.live)
        })
    }

    pub fn rows_of(&self, proc: Proc) -> impl Iterator<Item = RowKey> + '_ {
        let first = RowKey {
            proc,
            ..RowKey::default()
        };
        let rows = self.rows.range(first..).map(|(key, _)| *key);
        rows.take_while(move |key| key.proc == proc)
    }

    pub fn placement_of(&self, owner: &OwnerId, ogen: u32) -> Option<&Placement> {
        let (_, placed) = self.placements.get(owner)?.range(..=ogen).next_back()?;
        let placement = &placed.placement;
        (!placement.devices.is_empty()).then_some(placement)
    }

    /// The devices a row stands on; one unknown device where that is not known.
    pub fn devices_of(&self, key: &RowKey) -> Vec<DeviceFacts> {
        self.placement_of(&OwnerId::of(key), key.ogen).map_or_else(
            || vec![DeviceFacts::default()],
            |placement| placement.devices.clone(),
        )
    }

    pub fn is_charged(&self, space: u32, pool: u32) -> bool {
        self.runtimes
            .get(space as usize)
            .and_then(|runtime| runtime.pools.get(&pool))
            .is_none_or(|pool| pool.charged)
    }

    pub fn runtime_name(&self, space: u32) -> String {
        self.runtimes.get(space as usize).map_or_else(
            || format!("runtime-{space}"),
            |runtime| runtime.name.clone(),
        )
    }

    pub fn pool_name(&self, space: u32, pool: u32) -> String {
        self.runtimes
            .get(space as usize)
            .and_then(|runtime| runtime.pools.get(&pool))
            .map_or_else(|| format!("POOL_{pool}"), |pool| pool.name.clone())
    }

    /// Takes note of sums that are higher than before. Where a process has one owner a pool, the
    /// kernel's own peak is exact; over several owners this sees what each refresh sees.
    pub fn raise_peaks(&mut self) {
        let mut groups = std::collections::HashMap::<GroupKey, (i64, i64)>::new();
        let mut devices = std::collections::HashMap::<(DeviceKey, u32, u32), i64>::new();
        for (key, row) in &self.rows {
            let amounts = self.amounts(key, row);
            let running = self
                .processes
                .get(&key.proc)
                .is_some_and(|process| process.exited_ns.is_none());
            for device in self.devices_of(key) {
                let device = DeviceKey::of(&device);
                let (sum, highest) = groups
                    .entry(GroupKey {
                        proc: key.proc,
                        space: key.space,
                        device: device.clone(),
                        pool: key.pool,
                    })
                    .or_default();
                *sum = sum.saturating_add(amounts.charged);
                *highest = (*highest).max(amounts.peak_charged);
                if running {
                    let sum = devices.entry((device, key.space, key.pool)).or_default();
                    *sum = sum.saturating_add(amounts.charged);
                }
            }
        }
        for (key, (sum, highest)) in groups {
            let peak = self.peaks.entry(key.clone()).or_default();
            *peak = (*peak).max(sum).max(highest);
            let device = self
                .device_peaks
                .entry((key.device, key.space, key.pool))
                .or_default();
            *device = (*device).max(*peak);
        }
        for (key, sum) in devices {
            let peak = self.device_peaks.entry(key).or_default();
            *peak = (*peak).max(sum);
        }
    }
}
