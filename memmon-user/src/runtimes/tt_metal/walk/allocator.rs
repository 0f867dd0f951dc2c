//! One allocator: its pools and what is allocated in them.

use std::collections::{HashMap, HashSet};

use super::{Allocator, Bank, LiveBuffer, WalkError, Walker, offset};

/// Banks that one pool may have. Real ones have up to 140.
const MAX_BANKS: u32 = 1 << 16;
/// Blocks of one free list.
const MAX_BLOCKS: u64 = 1 << 20;
/// Live buffers of one allocator.
const MAX_BUFFERS: u64 = 1 << 20;
/// `BufferType`s are small numbers.
const MAX_POOL: u32 = 16;
/// Maxima beyond this are the underflows that a sub-device's unused pools show.
const MAX_CAPACITY: u64 = 1 << 48;

/// A pool with its taken blocks: address in the bank → size.
struct Pool {
    bank: Bank,
    taken: HashMap<u64, u64>,
    consistent: bool,
}

/// What is in the set of live buffers.
struct Buffers {
    live: Vec<LiveBuffer>,
    /// How many have not got their memory yet, or never will: their thread has died.
    begun: usize,
    /// Whether that is all of them.
    understood: bool,
}

/// What one of them is.
enum Kind {
    Live(LiveBuffer),
    Begun,
    /// Not, or not any more, what the free list of its pool says.
    Other,
}

/// What is read of a `Buffer`.
struct Buffer {
    device: u64,
    size: u64,
    kind: u32,
    allocator: u64,
    status: u8,
    hooked: u8,
    address: u64,
}

impl Pool {
    fn into_bank(self) -> Bank {
        let mut taken: Vec<u64> = self.taken.into_keys().collect();
        // So that two readings of the same state are equal.
        taken.sort_unstable();
        Bank { taken, ..self.bank }
    }
}

impl Walker<'_> {
    /// The allocator at `allocator`, which allocates on `device` (0 where that is not known: the
    /// device of its buffers is taken then).
    pub fn allocator(&self, allocator: u64, device: u64) -> Result<Allocator, WalkError> {
        let (keys, whole) = self.keys(allocator)?;
        let pools = self.pools(allocator)?;
        let Buffers {
            live: buffers,
            begun,
            understood,
        } = self.buffers(allocator, &keys, &pools)?;
        let mut whole = whole && understood;
        let mut consistent = whole && begun == 0;
        for pool in &pools {
            let listed = buffers
                .iter()
                .filter(|buffer| buffer.bank == pool.bank.address);
            let sizes = listed.clone().map(|buffer| buffer.charged);
            let charged = sizes.fold(0, u64::saturating_add);
            let taken = pool
                .bank
                .allocated_per_bank
                .checked_mul(pool.bank.num_banks);
            // Each block is one buffer's.
            let places: HashSet<u64> = listed.clone().map(|buffer| buffer.address).collect();
            let blocks = listed.count();
            consistent &= pool.consistent && taken == Some(charged);
            consistent &= [blocks, places.len()] == [pool.taken.len(); 2];
            whole &= pool.consistent
                && taken.is_some_and(|taken| taken >= charged)
                && blocks == places.len()
                && blocks <= pool.taken.len();
        }
        let device = match device {
            0 => buffers.first().map_or(0, |buffer| buffer.device),
            device => device,
        };
        let chips = match device {
            0 => Ok(Vec::new()),
            device => self.chips(device),
        };
        consistent &= chips.is_ok();
        whole &= chips.is_ok();
        Ok(Allocator {
            address: allocator,
            device,
            chips: chips.unwrap_or_default(),
            banks: pools.into_iter().map(Pool::into_bank).collect(),
            buffers,
            consistent,
            whole,
        })
    }

    /// Those of these buffers that are live, each looked at by itself.
    pub fn live_among(&self, allocator: u64, keys: &[u64]) -> Result<Vec<u64>, WalkError> {
        let pools = self.pools(allocator)?;
        let buffers = self.buffers(allocator, keys, &pools)?;
        Ok(buffers.live.into_iter().map(|buffer| buffer.key).collect())
    }

    fn pools(&self, allocator: u64) -> Result<Vec<Pool>, WalkError> {
        let layout = self.allocator_layout()?;
        let mut pools: Vec<Pool> = Vec::new();
        for manager in &layout.bank_managers {
            match self.read_u64(offset(allocator, *manager))? {
                0 => {}
                manager => pools.push(self.pool(manager)?),
            }
        }
        let distinct: HashSet<u32> = pools.iter().map(|pool| pool.bank.pool).collect();
        if pools.is_empty() || distinct.len() != pools.len() {
            return Err(WalkError::NotThere {
                what: "allocator",
                address: allocator,
            });
        }
        Ok(pools)
    }

    fn pool(&self, manager: u64) -> Result<Pool, WalkError> {
        let layout = &self.layout.bank_manager;
        let not_there = WalkError::NotThere {
            what: "BankManager",
            address: manager,
        };
        let kind = self.read_u32(offset(manager, layout.kind))?;
        let num_banks = self.read_u32(offset(manager, layout.num_banks))?;
        let lists = self.read_u64(offset(manager, layout.free_lists))?;
        if kind > MAX_POOL || num_banks > MAX_BANKS || lists == 0 {
            return Err(not_there);
        }
        let mut pool = Pool {
            bank: Bank {
                address: manager,
                pool: kind,
                num_banks: u64::from(num_banks),
                ..Bank::default()
            },
            taken: HashMap::new(),
            consistent: true,
        };
        match self.read_u64(lists)? {
            // A pool of no size has no free list.
            0 => {}
            list => self.free_list(list, &mut pool)?,
        }
        Ok(pool)
    }

    fn free_list(&self, list: u64, pool: &mut Pool) -> Result<(), WalkError> {
        let layout = &self.layout.free_list;
        let not_there = || WalkError::NotThere {
            what: "FreeListOpt",
            address: list,
        };
        if !self.is(self.read_u64(list)?, self.tables()?.free_list) {
            return Err(not_there());
        }
        let capacity = self.read_u64(offset(list, layout.max))?;
        let start = self.read_u64(offset(list, layout.offset))?;
        pool.bank.base = Some(start);
        // Where the table's vectors are. Vectors of booleans are of bytes here, so all four have
        // one element a block.
        let vectors = [
            (layout.block_address, 8),
            (layout.block_size, 8),
            (layout.allocated, 1),
            (layout.in_use, 1),
        ];
        let ends = || -> Result<Vec<u8>, WalkError> {
            let mut all = Vec::new();
            for (at, _) in vectors {
                let mut both = [0; 16];
                self.read(offset(list, at), &mut both)?;
                all.extend(both);
            }
            Ok(all)
        };
        let before = ends()?;
        let mut tables = Vec::new();
        for ((_, element), both) in vectors.into_iter().zip(before.as_chunks::<16>().0) {
            let [begin, end] = pair(*both);
            let length = end.wrapping_sub(begin);
            if length / element > MAX_BLOCKS || !length.is_multiple_of(element) {
                return Err(not_there());
            }
            tables.push(match length {
                0 => Vec::new(),
                length => self.read_vec(begin, length)?,
            });
        }
        let [addresses, sizes, allocated, in_use] = tables.as_slice() else {
            return Err(not_there());
        };
        let (addresses, sizes) = (words(addresses), words(sizes));
        let count = addresses.len();
        if before != ends()? || [sizes.len(), allocated.len(), in_use.len()] != [count; 3] {
            // It grew while it was read. What was read may have been freed memory: no block of it
            // is to be believed.
            pool.consistent = false;
            pool.bank.capacity_per_bank = capacity.min(MAX_CAPACITY);
            return Ok(());
        }
        let mut largest = 0;
        let blocks = addresses.iter().zip(&sizes).zip(allocated).zip(in_use);
        for (((address, size), allocated), in_use) in blocks {
            if *in_use == 0 {
                continue;
            }
            if *allocated == 0 {
                largest = largest.max(*size);
                continue;
            }
            let sum = pool.bank.allocated_per_bank.checked_add(*size);
            let twice = pool.taken.insert(address.wrapping_add(start), *size);
            pool.consistent &= twice.is_none() && sum.is_some();
            pool.bank.allocated_per_bank = sum.unwrap_or(u64::MAX);
        }
        pool.bank.capacity_per_bank = if capacity > MAX_CAPACITY { 0 } else { capacity };
        pool.consistent &= pool.bank.allocated_per_bank <= pool.bank.capacity_per_bank;
        pool.consistent &= are_apart(&pool.taken);
        pool.bank.largest_free_per_bank = Some(largest.min(pool.bank.capacity_per_bank));
        Ok(())
    }

    /// The live buffers with these addresses that are what the pools say.
    fn buffers(&self, allocator: u64, keys: &[u64], pools: &[Pool]) -> Result<Buffers, WalkError> {
        let mut all = Buffers {
            live: Vec::new(),
            begun: 0,
            understood: true,
        };
        for key in keys {
            match self.buffer(*key, allocator, pools) {
                Ok(Kind::Live(buffer)) => all.live.push(buffer),
                Ok(Kind::Begun) => all.begun += 1,
                Ok(Kind::Other) | Err(WalkError::Unreadable { .. }) => all.understood = false,
                Err(error) => return Err(error),
            }
        }
        // So that two readings of the same state are equal.
        all.live.sort_by_key(|buffer| buffer.key);
        all.understood &= all.live.is_sorted_by(|a, b| a.key < b.key);
        all.live.dedup_by_key(|buffer| buffer.key);
        Ok(all)
    }

    /// The addresses in the set of live buffers, and whether the set held still.
    ///
    /// The nodes are a list, and are read before anything else is, because a list that changes
    /// breaks: then the buckets, which point into it, lead to the rest.
    fn keys(&self, allocator: u64) -> Result<(Vec<u64>, bool), WalkError> {
        let layout = self.allocator_layout()?;
        let count_at = offset(allocator, layout.buffer_count);
        let list_at = offset(allocator, layout.buffer_list);
        let count = self.read_u64(count_at)?;
        if count > MAX_BUFFERS {
            return Err(WalkError::NotThere {
                what: "set of live buffers",
                address: count_at,
            });
        }
        let mut keys = Vec::new();
        // The list's anchor looks like a node to the bucket that is first.
        let mut visited = HashSet::from([list_at]);
        let whole = self.chain(self.read_u64(list_at)?, count, &mut visited, &mut keys)?;
        let consistent = whole
            && u64::try_from(keys.len()).is_ok_and(|found| found == count)
            && self.read_u64(count_at)? == count;
        if !consistent {
            // libstdc++: the buckets, their count, the anchor, the count.
            let [buckets, bucket_count] = {
                let mut both = [0; 16];
                self.read(list_at.wrapping_sub(16), &mut both)?;
                pair(both)
            };
            let limit = count.saturating_add(1_024);
            if let Ok(buckets) = self.read_vec(buckets, 8 * bucket_count.min(MAX_BUFFERS)) {
                for node in words(&buckets) {
                    self.chain(node, limit, &mut visited, &mut keys)?;
                }
            }
        }
        Ok((keys, consistent))
    }

    /// Follows nodes (next, key) until the list ends, or one was visited, or cannot be read (it
    /// was freed just now); whether it ended.
    fn chain(
        &self,
        first: u64,
        limit: u64,
        visited: &mut HashSet<u64>,
        keys: &mut Vec<u64>,
    ) -> Result<bool, WalkError> {
        let mut node = first;
        while node != 0 {
            let full = u64::try_from(keys.len()).is_ok_and(|found| found >= limit);
            if full || !visited.insert(node) {
                return Ok(false);
            }
            let mut both = [0; 16];
            match self.read(node, &mut both) {
                Ok(()) => {}
                Err(WalkError::Unreadable { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
            let [next, key] = pair(both);
            keys.push(key);
            node = next;
        }
        Ok(true)
    }

    /// One buffer of `allocator`.
    fn buffer(&self, key: u64, allocator: u64, pools: &[Pool]) -> Result<Kind, WalkError> {
        let buffer = self.read_buffer(key)?;
        const REQUESTED: u8 = 0;
        const ALLOCATED: u8 = 1;
        if buffer.allocator != allocator || buffer.hooked != 0 {
            return Ok(Kind::Other);
        }
        match buffer.status {
            REQUESTED => return Ok(Kind::Begun),
            ALLOCATED => {}
            _ => return Ok(Kind::Other),
        }
        let found = pools
            .iter()
            .find(|pool| pool.bank.pool == buffer.kind)
            .and_then(|pool| {
                let size = pool.taken.get(&buffer.address)?;
                Some(LiveBuffer {
                    key,
                    bank: pool.bank.address,
                    pool: buffer.kind,
                    requested: buffer.size,
                    charged: size.checked_mul(pool.bank.num_banks)?,
                    address: buffer.address,
                    device: buffer.device,
                })
            });
        Ok(found.map_or(Kind::Other, Kind::Live))
    }

    fn read_buffer(&self, key: u64) -> Result<Buffer, WalkError> {
        let layout = &self.layout.buffer;
        let base = match layout.indirect {
            true => self.read_u64(offset(key, layout.base))?,
            false => offset(key, layout.base),
        };
        // The fields are close to each other: one read gets them all.
        let last = [
            layout.device,
            layout.size,
            layout.buffer_type,
            layout.allocator,
            layout.status,
            layout.hooked,
            layout.address,
        ]
        .into_iter()
        .max()
        .unwrap_or_default();
        let bytes = self.read_vec(base, u64::from(last) + 8)?;
        let field = |at: u32, width: usize| {
            let at = usize::try_from(at).ok()?;
            let mut word = [0; 8];
            word.get_mut(..width)?
                .copy_from_slice(bytes.get(at..at.checked_add(width)?)?);
            Some(u64::from_le_bytes(word))
        };
        let word = |at: u32| field(at, 8).unwrap_or_default();
        let byte = |at: u32| {
            let value = field(at, 1).unwrap_or_default();
            u8::try_from(value).unwrap_or_default()
        };
        Ok(Buffer {
            device: word(layout.device),
            size: word(layout.size),
            kind: field(layout.buffer_type, 4)
                .and_then(|kind| u32::try_from(kind).ok())
                .unwrap_or(u32::MAX),
            allocator: word(layout.allocator),
            status: byte(layout.status),
            hooked: byte(layout.hooked),
            address: word(layout.address),
        })
    }
}

/// Whether no block lies over another.
fn are_apart(taken: &HashMap<u64, u64>) -> bool {
    let mut blocks: Vec<(u64, u64)> = taken.iter().map(|(at, size)| (*at, *size)).collect();
    blocks.sort_unstable();
    let mut free_from = 0;
    blocks.into_iter().all(|(at, size)| {
        let end = at.checked_add(size);
        let apart = at >= free_from && end.is_some();
        free_from = end.unwrap_or_default();
        apart
    })
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn pair(bytes: [u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(bytes);
    [both & u128::from(u64::MAX), both >> 64].map(|half| u64::try_from(half).unwrap_or_default())
}
