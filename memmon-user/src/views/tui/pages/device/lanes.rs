//! The address ranges of a pool, one an allocator, with what lies in them. Addresses are those of one bank; a
//! block lies in every bank alike.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::tables::live::{DeviceAsk, LiveList, PoolRange};

/// An allocator's range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    pub pid: u32,
    pub owner: u64,
    pub base: u64,
    pub length: u64,
    pub banks: u64,
    /// Whether the range is the pool's; else it is what its allocations span.
    pub is_known: bool,
    /// In the order of their addresses; none overlaps another.
    pub blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub address: u64,
    pub size: u64,
    /// Where it stands in the list of allocations.
    pub nth: usize,
}

/// Between two blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    pub address: u64,
    pub size: u64,
}

/// How free space lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    pub bytes: u64,
    pub gaps: usize,
    pub largest: Option<Gap>,
}

impl Free {
    /// How much of what is free the largest request cannot have: 0 where it is all in one piece.
    pub fn fragmentation(&self) -> Option<f64> {
        let largest = self.largest?.size;
        Some(1.0 - largest as f64 / self.bytes as f64)
    }
}

/// Those of a pool of a device, the fullest first.
pub fn lanes(list: &LiveList, device: &DeviceAsk, pool: &str) -> Vec<Lane> {
    let on_it = |devices: &[DeviceAsk]| devices.iter().any(|on| on.is_same(device));
    let mut ranges = BTreeMap::<(u32, u64), Option<&PoolRange>>::new();
    let mut blocks = BTreeMap::<(u32, u64), Vec<(u64, u64, usize)>>::new();
    for range in &list.ranges {
        if range.pool == pool && on_it(&range.devices) {
            ranges.insert((range.pid, range.owner), Some(range));
        }
    }
    for (nth, one) in list.allocations.iter().enumerate() {
        if one.pool != pool || !on_it(&one.devices) {
            continue;
        }
        if let Some(charged) = one.charged_bytes {
            let key = (one.pid, one.owner);
            ranges.entry(key).or_default();
            let own = blocks.entry(key).or_default();
            own.push((one.address, charged, nth));
        }
    }
    let mut lanes: Vec<Lane> = ranges
        .into_iter()
        .map(|(key, range)| Lane::new(key, range, blocks.remove(&key).unwrap_or_default()))
        .filter(|lane| lane.length > 0)
        .collect();
    // A runtime may keep allocators that it does not use beside the one that it does.
    let used: Vec<u32> = lanes
        .iter()
        .filter(|lane| !lane.blocks.is_empty())
        .map(|lane| lane.pid)
        .collect();
    lanes.retain(|lane| !lane.blocks.is_empty() || !used.contains(&lane.pid));
    lanes.sort_by_key(|lane| (Reverse(lane.taken()), lane.pid, lane.owner));
    lanes
}

impl Lane {
    fn new(key: (u32, u64), range: Option<&PoolRange>, mut found: Vec<(u64, u64, usize)>) -> Self {
        found.sort_unstable();
        let banks = range.map_or(1, |range| range.banks.max(1));
        let known = range.and_then(|range| Some((range.base?, range.bytes_per_bank)));
        let size = |charged: u64| charged / banks;
        let (base, length) = known.unwrap_or_else(|| {
            let first = found.first().map_or(0, |(address, ..)| *address);
            let ends = found
                .iter()
                .map(|(address, charged, _)| address.saturating_add(size(*charged)));
            (first, ends.max().unwrap_or(first) - first)
        });
        // A daemon may say anything: nothing lies beyond the last address.
        let length = length.min(u64::MAX - base);
        let end = base + length;
        let mut blocks = Vec::with_capacity(found.len());
        let mut free_from = base;
        for (address, charged, nth) in found {
            // What the list says at two moments may overlap: nothing is counted twice.
            let from = address.max(free_from);
            let to = address.saturating_add(size(charged)).min(end);
            if to > from {
                blocks.push(Block {
                    address: from,
                    size: to - from,
                    nth,
                });
                free_from = to;
            }
        }
        Self {
            pid: key.0,
            owner: key.1,
            base,
            length,
            banks,
            is_known: known.is_some(),
            blocks,
        }
    }

    /// In each bank.
    pub fn taken(&self) -> u64 {
        self.blocks.iter().map(|block| block.size).sum()
    }

    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        let starts = std::iter::once(self.base)
            .chain(self.blocks.iter().map(|block| block.address + block.size));
        let ends = self
            .blocks
            .iter()
            .map(|block| block.address)
            .chain(std::iter::once(self.base + self.length));
        starts
            .zip(ends)
            .filter(|(start, end)| end > start)
            .map(|(start, end)| Gap {
                address: start,
                size: end - start,
            })
    }

    pub fn free(&self) -> Free {
        let mut free = Free::default();
        for gap in self.gaps() {
            free.bytes += gap.size;
            free.gaps += 1;
            if free.largest.is_none_or(|largest| gap.size > largest.size) {
                free.largest = Some(gap);
            }
        }
        free
    }

    /// The block at this address.
    pub fn block_at(&self, address: u64) -> Option<usize> {
        let after = self
            .blocks
            .partition_point(|block| block.address <= address);
        let nth = after.checked_sub(1)?;
        let block = self.blocks.get(nth)?;
        (address - block.address < block.size).then_some(nth)
    }

    pub fn gap_at(&self, address: u64) -> Option<Gap> {
        self.gaps()
            .find(|gap| (gap.address..gap.address + gap.size).contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::live::LiveAllocation;

    fn device(id: i64) -> DeviceAsk {
        DeviceAsk {
            runtime: "tt-metal".into(),
            device: Some(id),
            device_uid: None,
        }
    }

    fn block(owner: u64, address: u64, charged: u64) -> LiveAllocation {
        LiveAllocation {
            pid: 7,
            runtime: "tt-metal".into(),
            devices: vec![device(0), device(1)],
            pool: "DRAM".into(),
            owner,
            address,
            charged_bytes: Some(charged),
            ..LiveAllocation::default()
        }
    }

    fn range(owner: u64, base: Option<u64>) -> PoolRange {
        PoolRange {
            pid: 7,
            owner,
            devices: vec![device(0), device(1)],
            pool: "DRAM".into(),
            base,
            banks: 12,
            bytes_per_bank: 1000,
        }
    }

    #[test]
    fn a_lane_for_each_allocator() {
        let list = LiveList {
            allocations: vec![
                block(1, 1700, 12 * 100),
                block(1, 1000, 12 * 300),
                block(2, 1000, 12 * 500),
                LiveAllocation {
                    pool: "L1".into(),
                    ..block(1, 0, 12)
                },
                LiveAllocation {
                    devices: vec![device(2)],
                    ..block(3, 0, 12)
                },
                LiveAllocation {
                    charged_bytes: None,
                    ..block(1, 1500, 0)
                },
            ],
            ranges: vec![
                range(1, Some(1000)),
                range(2, Some(1000)),
                range(9, Some(1000)),
            ],
            ..LiveList::default()
        };
        let lanes = lanes(&list, &device(1), "DRAM");
        let owners: Vec<_> = lanes
            .iter()
            .map(|lane| (lane.owner, lane.taken()))
            .collect();
        assert_eq!(owners, [(2, 500), (1, 400)], "9 is not used");
        let one = &lanes[1];
        let free = one.free();
        assert_eq!((free.bytes, free.gaps), (600, 2));
        assert_eq!(
            free.largest,
            Some(Gap {
                address: 1300,
                size: 400
            })
        );
        let third = free.fragmentation().unwrap_or_default();
        assert!((third - 1.0 / 3.0).abs() < 1e-9, "{third}");
        assert_eq!(one.block_at(1299), Some(0));
        assert_eq!((one.block_at(1300), one.block_at(999)), (None, None));
        assert_eq!(
            one.gap_at(1999),
            Some(Gap {
                address: 1800,
                size: 200
            })
        );
        let empty = LiveList {
            ranges: vec![range(9, Some(1000))],
            ..LiveList::default()
        };
        let lanes = super::lanes(&empty, &device(1), "DRAM");
        assert_eq!(lanes[0].free().fragmentation(), Some(0.0));
    }

    #[test]
    fn without_a_base_the_blocks_are_the_range() {
        let list = LiveList {
            allocations: vec![
                block(1, 5000, 12 * 10),
                block(1, 5090, 12 * 10),
                block(4, 64, 64),
            ],
            ranges: vec![range(1, None)],
            ..LiveList::default()
        };
        let lanes = lanes(&list, &device(0), "DRAM");
        let spans: Vec<_> = lanes
            .iter()
            .map(|l| (l.owner, l.base, l.length, l.banks))
            .collect();
        assert_eq!(spans, [(4, 64, 64, 1), (1, 5000, 100, 12)]);
        assert!(lanes.iter().all(|lane| !lane.is_known));
        assert_eq!(lanes[0].free().fragmentation(), None, "nothing is free");
    }

    #[test]
    fn nothing_is_counted_twice_or_beyond_the_end() {
        let list = LiveList {
            allocations: vec![
                block(1, 1100, 12 * 100),
                block(1, 1150, 12 * 100),
                block(1, 1120, 12 * 10),
                block(1, 1990, 12 * 100),
                block(1, u64::MAX, 12 * 100),
            ],
            ranges: vec![range(1, Some(1000))],
            ..LiveList::default()
        };
        let lane = lanes(&list, &device(0), "DRAM").remove(0);
        assert_eq!(lane.taken(), 160);
        assert_eq!(lane.free().bytes, 840);
    }
}
