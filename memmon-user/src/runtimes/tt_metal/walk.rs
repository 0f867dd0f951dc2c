//! What a process holds already when we come: a walk through its allocators, from outside.
//!
//! Reading only, while the process runs on. So what is read may be half changed, freed, or another
//! thing altogether: every pointer is checked for what it should point to (virtual tables, counts
//! that agree, sums that agree), every loop has an end, and bytes, reads and time are limited.
//! An [`Allocator`] that does not add up says so (`consistent`): read it again ([`Walker::settle`]),
//! and believe it when two readings in a row add up and are equal.
//!
//! Start with [`Walker::scan`] where nothing is known of the process, or with
//! [`Walker::allocator`] where an event named an allocator.

mod allocator;
mod scan;

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use thiserror::Error;

use super::layout::{AllocatorLayout, DeviceLayout, Layout, VirtualTables};
use crate::target::{maps::Region, memory::Memory};

/// Chips that one mesh may have. The largest real systems have 32 a host.
const MAX_CHIPS: u64 = 1_024;
/// The runtime numbers chips from 0, or by what the cluster's description says.
const MAX_CHIP_ID: u32 = 1 << 16;
/// How far a pointer may be: user space ends here.
const MAX_ADDRESS: u64 = 1 << 57;

/// So many reads from one look at the clock to the next.
const LOOK_AT_THE_CLOCK: u64 = 8;

/// Why a walk ended early.
#[derive(Debug, Error)]
pub enum WalkError {
    #[error("{0} not known for this library, so its allocators cannot be read")]
    NotLaidOut(&'static str),
    #[error("reading at {address:#x}: {source}")]
    Unreadable {
        address: u64,
        source: std::io::Error,
    },
    #[error("at {address:#x} there is no {what}")]
    NotThere { what: &'static str, address: u64 },
    #[error("gave up after {0}")]
    TooMuch(&'static str),
}

/// How much a walk may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: u64,
    pub reads: u64,
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            reads: 4_000_000,
            time: Duration::from_secs(5),
        }
    }
}

/// One allocator of a process, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocator {
    pub address: u64,
    /// The `MeshDevice` or `Device` that it allocates on; 0 where that is not known.
    pub device: u64,
    /// The runtime's ids of the device's chips: what is allocated is taken on each of them.
    pub chips: Vec<i64>,
    pub banks: Vec<Bank>,
    pub buffers: Vec<LiveBuffer>,
    /// Whether everything that can be checked adds up.
    pub consistent: bool,
    /// As `consistent`, but for blocks of the free lists that belong to no buffer (yet, or never:
    /// their thread has died).
    pub whole: bool,
}

/// One pool of an allocator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bank {
    /// The `BankManager`.
    pub address: u64,
    /// The runtime's `BufferType`.
    pub pool: u32,
    pub num_banks: u64,
    /// 0 where the pool has no room of its own: some of a sub-device have none.
    pub capacity_per_bank: u64,
    pub allocated_per_bank: u64,
    /// Where blocks are taken, in each bank.
    pub taken: Vec<u64>,
    /// None where there is no free list.
    pub largest_free_per_bank: Option<u64>,
    /// The first address of each bank; none where there is no free list.
    pub base: Option<u64>,
}

/// One buffer that is allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveBuffer {
    /// The `Buffer`.
    pub key: u64,
    /// Its `BankManager`.
    pub bank: u64,
    pub pool: u32,
    /// What was asked for, on each chip.
    pub requested: u64,
    /// What it takes of its pool, in all banks together, on each chip.
    pub charged: u64,
    /// Where in each bank.
    pub address: u64,
    pub device: u64,
}

/// What was found in a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub allocators: Vec<Allocator>,
    /// Whether all memory was looked at where allocators can be.
    pub complete: bool,
}

/// Reads the allocators of one process.
pub struct Walker<'a> {
    memory: &'a dyn Memory,
    layout: &'a Layout,
    /// What is added to a virtual address of the library in this process.
    base: u64,
    limits: Limits,
    started: Instant,
    bytes: Cell<u64>,
    reads: Cell<u64>,
}

impl std::fmt::Debug for Walker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walker")
            .field("base", &self.base)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What a device is.
enum DeviceKind {
    Mesh,
    Chip,
}

impl<'a> Walker<'a> {
    /// A walker with the usual [`Limits`], which count from now on.
    pub fn new(memory: &'a dyn Memory, layout: &'a Layout, base: u64) -> Self {
        Self::with_limits(memory, layout, base, Limits::default())
    }

    pub fn with_limits(
        memory: &'a dyn Memory,
        layout: &'a Layout,
        base: u64,
        limits: Limits,
    ) -> Self {
        Self {
            memory,
            layout,
            base,
            limits,
            started: Instant::now(),
            bytes: Cell::new(0),
            reads: Cell::new(0),
        }
    }

    /// The allocator of a `MeshDevice` or `Device`; none where it is closed.
    pub fn allocator_of_device(&self, device: u64) -> Result<Option<Allocator>, WalkError> {
        let devices = self.devices()?;
        let way = match self.kind(device)? {
            DeviceKind::Mesh => &devices.mesh_allocator,
            DeviceKind::Chip => devices
                .device_allocator
                .as_ref()
                .ok_or(WalkError::NotLaidOut("the allocator of a Device is"))?,
        };
        match self.follow(device, way)? {
            0 => Ok(None),
            allocator => self.allocator(allocator, device).map(Some),
        }
    }

    /// The allocator at `allocator`, read up to `attempts` times until it holds still: two
    /// readings that add up and are the same.
    ///
    /// Where it never does, because the process allocates all the while, it is not `consistent`,
    /// and its buffers are all that any reading has shown. One that was allocated throughout is
    /// among them; one that came or went is the business of the events that told of it.
    pub fn settle(
        &self,
        allocator: u64,
        device: u64,
        attempts: usize,
    ) -> Result<Allocator, WalkError> {
        let mut last: Option<Allocator> = None;
        let mut seen = BTreeMap::new();
        let mut failure = WalkError::TooMuch("no attempt");
        for _ in 0..attempts {
            let next = match self.allocator(allocator, device) {
                Ok(next) => next,
                Err(WalkError::NotLaidOut(what)) => return Err(WalkError::NotLaidOut(what)),
                Err(error @ WalkError::TooMuch(_)) => {
                    failure = error;
                    break;
                }
                // It changed under the eye: look again.
                Err(error) => {
                    failure = error;
                    continue;
                }
            };
            if next.consistent && last.as_ref() == Some(&next) {
                return Ok(next);
            }
            let buffers = next.buffers.iter();
            seen.extend(buffers.map(|buffer| (buffer.key, buffer.clone())));
            last = Some(next);
        }
        let mut last = last.ok_or(failure)?;
        last.buffers = seen.into_values().collect();
        last.consistent = false;
        last.whole = false;
        Ok(last)
    }

    /// The ids of the chips of a `MeshDevice`, in its order, or of a `Device`.
    pub fn chips(&self, device: u64) -> Result<Vec<i64>, WalkError> {
        let devices = self.devices()?;
        if let DeviceKind::Chip = self.kind(device)? {
            return Ok(vec![self.chip_id(device)?]);
        }
        let Some((last, way)) = devices.mesh_chips.split_last() else {
            return Err(WalkError::NotLaidOut("the chips of a MeshDevice are"));
        };
        let vector = offset(self.follow(device, way)?, *last);
        let begin = self.read_u64(vector)?;
        let end = self.read_u64(offset(vector, 8))?;
        let stride = u64::from(devices.chip_stride).max(8);
        let count = end.wrapping_sub(begin) / stride;
        if count > MAX_CHIPS || end.wrapping_sub(begin) % stride != 0 {
            return Err(WalkError::NotThere {
                what: "vector of chips",
                address: vector,
            });
        }
        let mut chips = Vec::new();
        for index in 0..count {
            let chip = self.read_u64(begin.wrapping_add(index * stride))?;
            // Chips of another host are not here.
            if let Ok(DeviceKind::Chip) = self.kind(chip) {
                chips.push(self.chip_id(chip)?);
            }
        }
        Ok(chips)
    }

    /// The unique ids of the chips that the process has opened, by the runtime's own id.
    ///
    /// From the memory that the runtime shares between its processes, one file a chip
    /// (0.70.1 and later).
    pub fn chip_uids(&self, maps: &[Region]) -> BTreeMap<i64, String> {
        const DEVICE_ID: u32 = 40;
        let mut uids = BTreeMap::new();
        for region in maps.iter().filter(|region| region.offset == 0) {
            let Some(uid) = region
                .path
                .strip_prefix("/dev/shm/tt_device_")
                .and_then(|name| name.strip_suffix("_memory"))
            else {
                continue;
            };
            let well_formed = !uid.is_empty()
                && uid.len() <= 32
                && uid.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if well_formed
                && let Ok(id) = self.read_u32(offset(region.start, DEVICE_ID))
                && id < MAX_CHIP_ID
            {
                uids.entry(i64::from(id)).or_insert_with(|| uid.to_owned());
            }
        }
        uids
    }

    fn devices(&self) -> Result<&'a DeviceLayout, WalkError> {
        self.layout.devices.as_ref().ok_or(WalkError::NotLaidOut(
            "the way from a device to its allocator is",
        ))
    }

    fn tables(&self) -> Result<&'a VirtualTables, WalkError> {
        self.layout
            .tables
            .as_ref()
            .ok_or(WalkError::NotLaidOut("the virtual tables are"))
    }

    fn allocator_layout(&self) -> Result<&'a AllocatorLayout, WalkError> {
        self.layout
            .allocator
            .as_ref()
            .ok_or(WalkError::NotLaidOut("the fields of an allocator are"))
    }

    /// Whether the virtual table at `address` of the library is what the word at `object` is.
    fn is(&self, word: u64, table: u64) -> bool {
        word == self.base.wrapping_add(table)
    }

    fn kind(&self, device: u64) -> Result<DeviceKind, WalkError> {
        let tables = self.tables()?;
        let word = self.read_u64(device)?;
        if self.is(word, tables.mesh_device) {
            Ok(DeviceKind::Mesh)
        } else if self.is(word, tables.device) {
            Ok(DeviceKind::Chip)
        } else {
            Err(WalkError::NotThere {
                what: "Device or MeshDevice",
                address: device,
            })
        }
    }

    /// Of a `Device`, and one still when its id has been read: the process may close it meanwhile, and put something else
    /// there.
    fn chip_id(&self, device: u64) -> Result<i64, WalkError> {
        let id = self.read_u32(offset(device, self.devices()?.device_id))?;
        match self.kind(device)? {
            DeviceKind::Chip if id < MAX_CHIP_ID => Ok(i64::from(id)),
            _ => Err(WalkError::NotThere {
                what: "Device",
                address: device,
            }),
        }
    }

    /// Loads at each offset of `way`, one after another; 0 where a pointer on it is.
    fn follow(&self, from: u64, way: &[u32]) -> Result<u64, WalkError> {
        let mut at = from;
        for step in way {
            if at == 0 {
                return Ok(0);
            }
            at = self.read_u64(offset(at, *step))?;
        }
        Ok(at)
    }

    fn read_u64(&self, address: u64) -> Result<u64, WalkError> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn read_u32(&self, address: u64) -> Result<u32, WalkError> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn read_vec(&self, address: u64, length: u64) -> Result<Vec<u8>, WalkError> {
        if length > self.limits.bytes {
            return Err(WalkError::TooMuch("reading too much"));
        }
        let length = usize::try_from(length).map_err(|_| WalkError::TooMuch("reading too much"))?;
        let mut bytes = vec![0; length];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    fn spent_half(&self) -> bool {
        self.bytes.get() > self.limits.bytes / 2
            || self.reads.get() > self.limits.reads / 2
            || self.started.elapsed() > self.limits.time / 2
    }

    /// Every read goes through here, so that no walk costs more than it may.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), WalkError> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + buffer.len() as u64);
        if self.reads.get() > self.limits.reads {
            return Err(WalkError::TooMuch("too many reads"));
        }
        if self.bytes.get() > self.limits.bytes {
            return Err(WalkError::TooMuch("reading too much"));
        }
        if self.reads.get().is_multiple_of(LOOK_AT_THE_CLOCK)
            && self.started.elapsed() > self.limits.time
        {
            return Err(WalkError::TooMuch("too long"));
        }
        let unreadable = |source| WalkError::Unreadable { address, source };
        if address == 0 || address >= MAX_ADDRESS {
            return Err(unreadable(std::io::ErrorKind::AddrNotAvailable.into()));
        }
        self.memory.read(address, buffer).map_err(unreadable)
    }
}

/// Addresses may be anything: what wraps around is caught when it is read.
fn offset(address: u64, by: u32) -> u64 {
    address.wrapping_add(u64::from(by))
}

#[cfg(test)]
mod tests;
