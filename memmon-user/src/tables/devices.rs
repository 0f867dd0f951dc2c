//! The device part of a snapshot: what running processes hold, summed by device.

use std::collections::BTreeMap;

use super::{
    DeviceKey, Tables,
    facts::{DeviceFacts, OwnerId, PoolCapacity},
    snapshot::{Device, Pool},
};

#[derive(Default)]
struct Sum {
    charged: Option<i64>,
    capacity: Option<PoolCapacity>,
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
            let Some((_, placement)) = generations.last_key_value() else {
                continue;
            };
            for device in &placement.devices {
                let (_, pools) = devices
                    .entry((owner.space, DeviceKey::of(device)))
                    .or_insert_with(|| (device.clone(), Pools::new()));
                for (pool, capacity) in &placement.pools {
                    let sum = pools.entry(*pool).or_default();
                    sum.charged.get_or_insert(0);
                    // Several allocators of one chip: the widest view of it.
                    if sum
                        .capacity
                        .is_none_or(|known| known.bytes < capacity.bytes)
                    {
                        sum.capacity = Some(*capacity);
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
                *pools.entry(key.pool).or_default().charged.get_or_insert(0) += amounts.charged;
            }
        }
        devices
            .into_iter()
            .map(|((space, key), (device, pools))| self.device_row(space, &key, device, pools))
            .collect()
    }

    fn is_running(&self, proc: u64) -> bool {
        self.processes
            .get(&proc)
            .is_some_and(|process| process.exited_ns.is_none())
    }

    fn device_row(&self, space: u32, key: &DeviceKey, device: DeviceFacts, pools: Pools) -> Device {
        let pools = pools
            .into_iter()
            .filter(|(pool, _)| self.is_charged(space, *pool))
            .map(|(pool, sum)| {
                let peak = self
                    .device_peaks
                    .get(&(key.clone(), space, pool))
                    .copied()
                    .unwrap_or_default()
                    .max(sum.charged.unwrap_or_default());
                Pool {
                    pool: self.pool_name(space, pool),
                    capacity_bytes: sum.capacity.map(|capacity| capacity.bytes),
                    charged_bytes: sum.charged.and_then(|bytes| u64::try_from(bytes).ok()),
                    peak_charged_bytes: u64::try_from(peak).ok(),
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
