//! What Tracy believes to be allocated.

use std::collections::{HashMap, HashSet};

use super::emit::{Emit, NameId};
use crate::tables::live::LiveId;

/// Beyond the addresses of every device.
const LAP: u64 = 1 << 48;

/// An address in a pool, as Tracy knows it.
type Spot = (NameId, u64);

#[derive(Debug, Default)]
pub struct Standing {
    allocations: HashMap<LiveId, Told>,
    spots: HashSet<Spot>,
}

#[derive(Debug)]
struct Told {
    address: u64,
    size: u64,
    /// One on each of its devices.
    spots: Vec<Spot>,
}

impl Standing {
    /// It stands there, in each of these pools. What it was told to be before is freed, unless it
    /// is the same.
    pub fn place(
        &mut self,
        id: LiveId,
        address: u64,
        size: u64,
        pools: &[NameId],
        emits: &mut Vec<Emit>,
    ) {
        if let Some(told) = self.allocations.get(&id) {
            let same = told.address == address
                && told.size == size
                && told.spots.iter().map(|(pool, _)| pool).eq(pools);
            if same {
                return;
            }
        }
        self.free(&id, emits);
        let mut spots = Vec::with_capacity(pools.len());
        for pool in pools {
            let pointer = self.free_pointer(*pool, address);
            self.spots.insert((*pool, pointer));
            spots.push((*pool, pointer));
            emits.push(Emit::Alloc {
                pool: *pool,
                pointer,
                size,
            });
        }
        let told = Told {
            address,
            size,
            spots,
        };
        self.allocations.insert(id, told);
    }

    /// The address itself, as a rule. Where something stands there already (processes whose mock
    /// devices are one to the runtime, allocators that know nothing of each other, a free that was
    /// missed), the bits above 48 count: for Tracy an address of a pool is one allocation.
    fn free_pointer(&self, pool: NameId, address: u64) -> u64 {
        let mut pointer = address;
        while self.spots.contains(&(pool, pointer)) {
            pointer = pointer.wrapping_add(LAP);
            if pointer == address {
                // Sixteen bits are used up: any pointer is as good as another.
                pointer = pointer.wrapping_add(1);
            }
        }
        pointer
    }

    /// Nothing, where nothing of it was told.
    pub fn free(&mut self, id: &LiveId, emits: &mut Vec<Emit>) {
        if let Some(told) = self.allocations.remove(id) {
            self.release(told, emits);
        }
    }

    /// Frees everything but these.
    pub fn retain(&mut self, ids: &HashSet<LiveId>, emits: &mut Vec<Emit>) {
        let gone: Vec<Told> = self
            .allocations
            .extract_if(|id, _| !ids.contains(id))
            .map(|(_, told)| told)
            .collect();
        for told in gone {
            self.release(told, emits);
        }
    }

    fn release(&mut self, told: Told, emits: &mut Vec<Emit>) {
        for (pool, pointer) in told.spots {
            self.spots.remove(&(pool, pointer));
            emits.push(Emit::Free { pool, pointer });
        }
    }
}
