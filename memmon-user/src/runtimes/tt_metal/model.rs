//! tt-metal's owners are bank managers: one a pool, several an allocator, which is a mesh's or a
//! chip's.

use std::{collections::BTreeMap, time::Duration};

use super::{
    layout::Layout,
    walk::{Allocator, Bank, Limits, Walker},
};
use crate::{
    runtimes::resolver::{
        FoundAllocation, FoundBlock, FoundOwner, Model, OwnerHint, Recovered, Root, Target,
    },
    tables::facts::{DeviceFacts, Placement, PoolCapacity},
};

#[derive(Debug)]
pub struct TtMetal {
    layout: Layout,
}

/// Capacities beyond this are the underflows of pools that a sub-device's allocator does not use.
const MAX_CAPACITY: u64 = 1 << 48;
/// The register [`memmon_ebpf::spec::reg::DEVICE`] of circular buffers' owners: the device itself.
const NO_ALLOCATOR: u64 = 0;

/// How often an allocator that is busy is read until it holds still.
const SETTLE_ATTEMPTS: usize = 60;

/// What one look at an allocator may cost. A million buffers are two million reads.
const A_LOOK: Limits = Limits {
    bytes: 1 << 30,
    reads: 4_000_000,
    time: Duration::from_secs(2),
};

impl TtMetal {
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    fn walker<'a>(&'a self, target: &Target<'a>) -> Walker<'a> {
        Walker::new(target.memory, &self.layout, target.base)
    }
}

impl Model for TtMetal {
    fn owners(&self, target: &Target<'_>, hint: &OwnerHint) -> Result<Vec<FoundOwner>, String> {
        let walker = self.walker(target);
        let uids = walker.chip_uids(target.regions);
        let chips = walker
            .chips(hint.device)
            .map_err(|error| error.to_string())?;
        let banks = match hint.aux {
            NO_ALLOCATOR => Vec::new(),
            allocator => walker
                .allocator(allocator, hint.device)
                .map(|found| found.banks)
                .unwrap_or_default(),
        };
        let placement = placement(&chips, &uids, &banks);
        let mut owners: Vec<FoundOwner> = banks
            .iter()
            .map(|bank| FoundOwner {
                owner: bank.address,
                pool: bank.pool,
                device: hint.device,
                aux: hint.aux,
                placement: placement.clone(),
                charged: taken(bank),
            })
            .collect();
        if !owners.iter().any(|found| found.owner == hint.owner) {
            owners.push(FoundOwner {
                owner: hint.owner,
                device: hint.device,
                aux: hint.aux,
                placement,
                ..FoundOwner::default()
            });
        }
        Ok(owners)
    }

    fn notes(&self) -> Vec<String> {
        self.layout.notes.clone()
    }

    fn read(&self, target: &Target<'_>, root: Root) -> Result<Recovered, String> {
        let walker = Walker::with_limits(target.memory, &self.layout, target.base, A_LOOK);
        let allocator = walker
            .allocator(root.aux, root.device)
            .map_err(|error| error.to_string())?;
        let mut recovered = Recovered {
            consistent: allocator.consistent,
            whole: allocator.whole,
            ..Recovered::default()
        };
        take(
            &mut recovered,
            &allocator,
            &walker.chip_uids(target.regions),
        );
        Ok(recovered)
    }

    fn holds(&self, target: &Target<'_>, root: Root, keys: &[u64]) -> Result<Vec<u64>, String> {
        Walker::with_limits(target.memory, &self.layout, target.base, A_LOOK)
            .live_among(root.aux, keys)
            .map_err(|error| error.to_string())
    }

    fn recover(&self, target: &Target<'_>) -> Result<Recovered, String> {
        let walker = self.walker(target);
        let scan = walker
            .scan(target.regions)
            .map_err(|error| error.to_string())?;
        if !scan.complete {
            return Err("its memory could not be looked through completely".to_owned());
        }
        let uids = walker.chip_uids(target.regions);
        let mut recovered = Recovered {
            consistent: true,
            whole: true,
            ..Recovered::default()
        };
        for found in scan.allocators {
            // Limits count for a walker: a fresh one an allocator.
            let settled = self
                .walker(target)
                .settle(found.address, found.device, SETTLE_ATTEMPTS);
            // It may be gone by now: then what was seen of it is not certain.
            let allocator = settled.unwrap_or(Allocator {
                consistent: false,
                whole: false,
                ..found
            });
            recovered.consistent &= allocator.consistent;
            recovered.whole &= allocator.whole;
            take(&mut recovered, &allocator, &uids);
        }
        Ok(recovered)
    }
}

fn take(recovered: &mut Recovered, allocator: &Allocator, uids: &BTreeMap<i64, String>) {
    let placement = placement(&allocator.chips, uids, &allocator.banks);
    for bank in &allocator.banks {
        let blocks = bank.taken.iter().map(|address| FoundBlock {
            owner: bank.address,
            address: *address,
        });
        recovered.blocks.extend(blocks);
        recovered.owners.push(FoundOwner {
            owner: bank.address,
            pool: bank.pool,
            device: allocator.device,
            aux: allocator.address,
            placement: placement.clone(),
            charged: taken(bank),
        });
    }
    for buffer in &allocator.buffers {
        recovered.allocations.push(FoundAllocation {
            key: buffer.key,
            owner: buffer.bank,
            pool: buffer.pool,
            requested: buffer.requested,
            charged: buffer.charged,
            address: buffer.address,
        });
    }
}

/// Over all banks.
fn taken(bank: &Bank) -> u64 {
    bank.allocated_per_bank.saturating_mul(bank.num_banks)
}

fn placement(chips: &[i64], uids: &BTreeMap<i64, String>, banks: &[Bank]) -> Placement {
    let pools = banks
        .iter()
        .filter_map(|bank| {
            let bytes = bank.capacity_per_bank.checked_mul(bank.num_banks)?;
            (bytes <= MAX_CAPACITY).then_some((
                bank.pool,
                PoolCapacity {
                    banks: bank.num_banks,
                    bytes,
                    largest_free_per_bank: bank.largest_free_per_bank,
                    base: bank.base,
                },
            ))
        })
        .collect();
    Placement {
        devices: chips
            .iter()
            .map(|chip| DeviceFacts {
                id: Some(*chip),
                uid: uids.get(chip).cloned(),
                name: None,
            })
            .collect(),
        pools,
    }
}
