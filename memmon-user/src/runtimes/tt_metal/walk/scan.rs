//! Finding allocators where no event has named one: objects are known by their virtual tables.

use std::collections::BTreeMap;

use super::{Allocator, Scan, WalkError, Walker};
use crate::target::maps::Region;

/// How much is read at a time.
const CHUNK: u64 = 1 << 20;
/// How much is tried at a time where a chunk cannot be read as a whole.
const PAGE: u64 = 4_096;
/// Of how much it is asked at a time which parts of it are there.
const PIECE: usize = 1 << 32;
/// Hits that are looked at; more is not a process but a trap.
const MAX_HITS: usize = 16_384;
/// Allocators of a device's active sub-devices that are looked at.
const MAX_SUB_DEVICES: u32 = 64;

#[derive(Default)]
struct Hits {
    meshes: Vec<u64>,
    devices: Vec<u64>,
    allocators: Vec<u64>,
}

/// The addresses of virtual tables.
struct Wanted {
    /// The lowest, and how far above it the highest is.
    least: u64,
    span: u64,
    mesh: u64,
    device: u64,
    allocators: Vec<u64>,
}

impl Hits {
    fn len(&self) -> usize {
        self.meshes.len() + self.devices.len() + self.allocators.len()
    }
}

impl Walker<'_> {
    /// Every allocator that is found in the process.
    ///
    /// What is found is checked; what does not stand up to it (memory that was freed, a word that
    /// looks like an object) is not an allocator, and not an error either.
    pub fn scan(&self, maps: &[Region]) -> Result<Scan, WalkError> {
        self.allocator_layout()?;
        let (hits, mut complete) = self.hits(maps)?;
        let mut found: BTreeMap<u64, Allocator> = BTreeMap::new();
        let mut keep = |allocator: Option<Allocator>| {
            if let Some(allocator) = allocator {
                found.entry(allocator.address).or_insert(allocator);
            }
        };
        // What belongs to a mesh first: its chips are all of the mesh's.
        for mesh in &hits.meshes {
            let found = self.allocator_of_device(*mesh);
            complete &= !self.is_broken(*mesh, &found);
            keep(self.checked(found, &mut complete)?);
            for allocator in self.sub_device_allocators(*mesh) {
                keep(self.checked(self.allocator(allocator, *mesh).map(Some), &mut complete)?);
            }
        }
        for device in &hits.devices {
            let found = self.allocator_of_device(*device);
            complete &= !self.is_broken(*device, &found);
            keep(self.checked(found, &mut complete)?);
        }
        // Those of sub-devices that are not active: their buffers say whose they are.
        for allocator in &hits.allocators {
            let of_buffers =
                self.checked(self.allocator(*allocator, 0).map(Some), &mut complete)?;
            keep(of_buffers.filter(|allocator| allocator.device != 0));
        }
        Ok(Scan {
            allocators: found.into_values().collect(),
            complete,
        })
    }

    /// Whether a device leads to an allocator, by its virtual table, that cannot be read. Memory
    /// that was freed does not look like that: what the process holds is not known then.
    fn is_broken(&self, device: u64, found: &Result<Option<Allocator>, WalkError>) -> bool {
        let unreadable = matches!(
            found,
            Err(WalkError::NotThere { .. } | WalkError::Unreadable { .. })
        );
        unreadable && self.allocator_word(device).is_ok_and(|is_one| is_one)
    }

    fn allocator_word(&self, device: u64) -> Result<bool, WalkError> {
        let devices = self.devices()?;
        let way = match self.kind(device)? {
            super::DeviceKind::Mesh => Some(&devices.mesh_allocator),
            super::DeviceKind::Chip => devices.device_allocator.as_ref(),
        };
        let allocator = match way {
            Some(way) => self.follow(device, way)?,
            None => 0,
        };
        if allocator == 0 {
            return Ok(false);
        }
        let word = self.read_u64(allocator)?;
        let mut tables = self.tables()?.allocators.iter();
        Ok(tables.any(|table| self.is(word, *table)))
    }

    /// Nothing instead of what is not what it looked like; that time is up is noted.
    fn checked(
        &self,
        found: Result<Option<Allocator>, WalkError>,
        complete: &mut bool,
    ) -> Result<Option<Allocator>, WalkError> {
        match found {
            Ok(found) => Ok(found),
            Err(WalkError::NotThere { .. } | WalkError::Unreadable { .. }) => Ok(None),
            Err(WalkError::TooMuch(_)) => {
                *complete = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The allocators of the sub-devices that are active on a mesh.
    fn sub_device_allocators(&self, mesh: u64) -> Vec<u64> {
        let Some(way) = self
            .devices()
            .ok()
            .and_then(|devices| devices.mesh_active.as_ref())
        else {
            return Vec::new();
        };
        let Some((last, way)) = way.split_last() else {
            return Vec::new();
        };
        let read = || {
            let vector = super::offset(self.follow(mesh, way)?, *last);
            let begin = self.read_u64(vector)?;
            let end = self.read_u64(super::offset(vector, 8))?;
            let count = (end.wrapping_sub(begin) / 8).min(u64::from(MAX_SUB_DEVICES));
            (0..count)
                .map(|index| self.read_u64(begin.wrapping_add(index * 8)))
                .collect::<Result<Vec<u64>, WalkError>>()
        };
        let mut allocators = read().unwrap_or_default();
        allocators.retain(|allocator| *allocator != 0);
        allocators
    }

    /// Addresses of words that are the address of a virtual table, and whether all was read.
    fn hits(&self, maps: &[Region]) -> Result<(Hits, bool), WalkError> {
        let tables = self.tables()?;
        let place = |table: u64| self.base.wrapping_add(table);
        let mesh = place(tables.mesh_device);
        let device = place(tables.device);
        let allocators: Vec<u64> = tables
            .allocators
            .iter()
            .map(|table| place(*table))
            .collect();
        let all = || allocators.iter().copied().chain([mesh, device]);
        let least = all().min().unwrap_or_default();
        let span = all().max().unwrap_or_default().wrapping_sub(least);
        let wanted = Wanted {
            least,
            span,
            mesh,
            device,
            allocators: allocators.clone(),
        };
        let mut hits = Hits::default();
        let mut chunk = Vec::new();
        for region in candidates(maps) {
            for start in (region.start..region.end).step_by(PIECE) {
                let end = start.saturating_add(PIECE as u64).min(region.end);
                // The other half of the limits is for what is found.
                if self.spent_half() {
                    return Ok((hits, false));
                }
                let parts = self.memory.touched(start, end);
                for (start, end) in parts.unwrap_or_else(|| vec![(start, end)]) {
                    if !self.search(start, end, &wanted, &mut hits, &mut chunk)? {
                        return Ok((hits, false));
                    }
                }
            }
        }
        Ok((hits, true))
    }

    /// False where the limits did not suffice.
    fn search(
        &self,
        start: u64,
        end: u64,
        wanted: &Wanted,
        hits: &mut Hits,
        chunk: &mut Vec<u8>,
    ) -> Result<bool, WalkError> {
        let mut at = start;
        while at < end {
            if self.spent_half() {
                return Ok(false);
            }
            let length = CHUNK.min(end - at);
            match self.read_what_is_there(at, length, chunk) {
                Ok(()) => {}
                Err(WalkError::TooMuch(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
            let (words, _) = chunk.as_chunks::<8>();
            for (index, word) in words.iter().enumerate() {
                let word = u64::from_le_bytes(*word);
                // Nearly every word fails this one test.
                if word.wrapping_sub(wanted.least) > wanted.span {
                    continue;
                }
                let address = at + 8 * index as u64;
                if word == wanted.mesh {
                    hits.meshes.push(address);
                } else if word == wanted.device {
                    hits.devices.push(address);
                } else if wanted.allocators.contains(&word) {
                    hits.allocators.push(address);
                }
                if hits.len() > MAX_HITS {
                    return Ok(false);
                }
            }
            at += length;
        }
        Ok(true)
    }

    /// Reads what can be read; the rest stays zero.
    fn read_what_is_there(
        &self,
        at: u64,
        length: u64,
        chunk: &mut Vec<u8>,
    ) -> Result<(), WalkError> {
        chunk.resize(usize::try_from(length).unwrap_or_default(), 0);
        match self.read(at, chunk) {
            Err(WalkError::Unreadable { .. }) => {}
            result => return result,
        }
        chunk.fill(0);
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        for (index, piece) in chunk.chunks_mut(page).enumerate() {
            let address = at + PAGE * index as u64;
            match self.read(address, piece) {
                Err(WalkError::Unreadable { .. }) => piece.fill(0),
                result => result?,
            }
        }
        Ok(())
    }
}

/// Memory where objects are: writable and the process's own. The heap first, and large regions
/// last: what is in them are tensors, not allocators.
fn candidates(maps: &[Region]) -> Vec<&Region> {
    let mut regions: Vec<&Region> = maps
        .iter()
        .filter(|region| region.readable && region.writable && region.is_anonymous())
        // A word is at a multiple of 8, and so is every mapping.
        .filter(|region| region.start < region.end && region.start.is_multiple_of(8))
        .collect();
    regions.sort_by_key(|region| (region.path != "[heap]", region.len()));
    regions
}
