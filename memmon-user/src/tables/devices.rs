//! The device part of a snapshot: what running processes hold, summed by device.

use std::collections::BTreeMap;

use memmon_ebpf::ledger::RowKey;

use super::{
    DeviceKey, Placed, Tables,
    facts::{DeviceFacts, OwnerId, PoolCapacity},
    order,
    snapshot::{Device, Pool},
};

#[derive(Default)]
struct Sum {
    charged: Option<i64>,
    capacity: Option<PoolCapacity>,
    rank: (bool, u64),
}

impl Sum {
    /// A pool of no size that holds nothing is no pool of this device.
    fn is_used(&self) -> bool {
        self.charged.is_some_and(|bytes| bytes != 0)
            || self.capacity.is_some_and(|capacity| capacity.bytes > 0)
    }
}

type Pools = BTreeMap<u32, Sum>;

impl Tables {
    pub(super) fn device_rows(&self) -> Vec<Device> {
        let mut devices: BTreeMap<(u32, DeviceKey), (DeviceFacts, Pools)> = BTreeMap::new();
        // Capacity is known of pools that nobody holds anything in, too.
        for (owner, generations) in &self.placements {
            if !self.is_running(owner.proc) {
                continue;
            }
            let Some((_, Placed { placement, order })) = generations.last_key_value() else {
                continue;
            };
            // Of several allocators of one chip (a mesh's, its submeshes', the chip's own), the
            // one that is in use.
            let rank = (self.holds(owner), *order);
            for device in &placement.devices {
                let (_, pools) = devices
                    .entry((owner.space, DeviceKey::of(device)))
                    .or_insert_with(|| (device.clone(), Pools::new()));
                for (pool, capacity) in &placement.pools {
                    let sum = pools.entry(*pool).or_default();
                    sum.charged.get_or_insert(0);
                    if sum.capacity.is_none() || sum.rank < rank {
                        sum.capacity = Some(*capacity);
                        sum.rank = rank;
                    }
                }
            }
        }
        for (key, row) in &self.rows {
            if !self.is_running(key.proc) {
                continue;
            }
            let amounts = self.amounts(key, row);
            if self.placement_of(&OwnerId::of(key), key.ogen).is_none() && amounts.charged == 0 {
                // Nothing is held on a device that is not known: no row is owed.
                continue;
            }
            for device in self.devices_of(key) {
                let (_, pools) = devices
                    .entry((key.space, DeviceKey::of(&device)))
                    .or_insert_with(|| (device.clone(), Pools::new()));
                let pool = pools.entry(key.pool).or_default();
                let sum = pool.charged.get_or_insert(0);
                *sum = sum.saturating_add(amounts.charged);
            }
        }
        let mut devices: Vec<Device> = devices
            .into_iter()
            .map(|((space, key), (device, pools))| self.device_row(space, &key, device, pools))
            .collect();
        order::sort_devices(&mut devices);
        devices
    }

    /// Whether the allocator that this owner belongs to holds anything. Its pools are placed
    /// together, so any row of the owner will do.
    fn holds(&self, owner: &OwnerId) -> bool {
        let first = RowKey {
            proc: owner.proc,
            owner: owner.owner,
            ..RowKey::default()
        };
        self.rows
            .range(first..)
            .take_while(|(key, _)| key.proc == owner.proc && key.owner == owner.owner)
            .filter(|(key, _)| key.space == owner.space)
            .any(|(key, row)| self.amounts(key, row).live > 0)
    }

    fn is_running(&self, proc: u64) -> bool {
        self.processes
            .get(&proc)
            .is_some_and(|process| process.exited_ns.is_none())
    }

    fn device_row(&self, space: u32, key: &DeviceKey, device: DeviceFacts, pools: Pools) -> Device {
        let pools = pools
            .into_iter()
            .filter(|(pool, sum)| self.is_charged(space, *pool) && sum.is_used())
            .map(|(pool, sum)| {
                let peak = self
                    .device_peaks
                    .get(&(key.clone(), space, pool))
                    .copied()
                    .unwrap_or_default()
                    .max(sum.charged.unwrap_or_default());
                Pool {
                    pool: self.pool_name(space, pool),
                    // What holds something has room, of which this allocator knows nothing.
                    capacity_bytes: sum
                        .capacity
                        .map(|capacity| capacity.bytes)
                        .filter(|bytes| *bytes > 0),
                    charged_bytes: sum.charged.and_then(|bytes| u64::try_from(bytes).ok()),
                    peak_charged_bytes: u64::try_from(peak).ok().filter(|_| self.knows_peaks()),
                    banks: sum.capacity.map(|capacity| capacity.banks),
                    largest_free_bytes_per_bank: sum
                        .capacity
                        .and_then(|capacity| capacity.largest_free_per_bank),
                }
            })
            .collect();
        Device {
            runtime: self.runtime_name(space),
            device: device.id,
            device_uid: device.uid,
            name: device.name,
            pools,
        }
    }
}
