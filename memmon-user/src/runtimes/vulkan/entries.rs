//! Where a driver of Mesa's keeps its functions.
//!
//! Mesa generates for every driver three tables of pointers, of an instance's, a physical device's
//! and a device's functions, and for each kind a map from a function's name to its index in the
//! table: entries of (where the name stands in a pool of names, its hash, the index). Nothing of it
//! has a symbol. But a map proves itself, as each of its hundreds of hashes is that of the name it
//! leads to; the instance's table is what the exported `vk_icdGetInstanceProcAddr` hands on; and as
//! one generated source file holds the three tables and nothing else, they lie side by side: the
//! instance's, the physical device's, the device's, or the other way round. Other tables of the same
//! shape (of common code, of other layers of the driver) lie elsewhere.
//!
//! So it was from Mesa 21.2 on (the tests have 22.3 to 26.2). What does not fit is an error.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Register};
use thiserror::Error;

use crate::elf::{Library, Segment};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// Virtual addresses.
    pub allocate_memory: u64,
    pub free_memory: u64,
}

/// Why nothing was.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EntriesError {
    #[error("its functions are not known: it has no map of {0} names as drivers of Mesa have it")]
    NoMap(&'static str),
    #[error("its functions are not known: it has several maps of {0} names")]
    ManyMaps(&'static str),
    #[error(
        "its functions are not known: vk_icdGetInstanceProcAddr hands on no table of its functions"
    )]
    NoTable,
    #[error(
        "its functions are not known: no table of a device's functions lies beside that of the instance's"
    )]
    NoNeighbour,
    #[error("its functions are not known: {0} tables might be that of a device's functions")]
    Ambiguous(usize),
}

/// Names of one kind, and one by which their map is found. No map has fewer names than that.
struct Names {
    kind: &'static str,
    anchor: &'static str,
    least: usize,
    /// Functions that every driver has.
    filled: &'static [&'static str],
}

const INSTANCE: Names = Names {
    kind: "an instance's function",
    anchor: "vkCreateInstance",
    least: 8,
    filled: &[
        "vkCreateInstance",
        "vkDestroyInstance",
        "vkGetInstanceProcAddr",
    ],
};
const PHYSICAL: Names = Names {
    kind: "a physical device's function",
    anchor: "vkCreateDevice",
    least: 16,
    filled: &["vkCreateDevice"],
};
const DEVICE: Names = Names {
    kind: "a device's function",
    anchor: "vkAllocateMemory",
    least: 100,
    filled: &[
        "vkAllocateMemory",
        "vkFreeMemory",
        "vkDestroyDevice",
        "vkCreateImage",
        "vkCreateDescriptorPool",
    ],
};

/// More names than any version of Vulkan will have for a while.
const MAX_NAMES: usize = 8_192;
const MAX_NAME: usize = 256;
/// Places where a hash or a name is found that are looked at. Real drivers have one or two.
const MAX_PLACES: usize = 8;
/// The largest part of a file that is searched.
const MAX_SEARCHED: usize = 256 << 20;
/// Instructions until a function of three lines has handed on its table.
const MAX_STEPS: usize = 32;
/// What compilers align tables to.
const ALIGNMENTS: [u64; 4] = [8, 16, 32, 64];
/// Offset of the name, hash, index.
const ENTRY: usize = 12;

/// Finds the functions of a driver that exports `vk_icdGetInstanceProcAddr` there.
pub fn find(library: &Library, export: u64) -> Result<Entries, EntriesError> {
    let constant: Vec<Part> = library
        .segments()
        .iter()
        .filter(|segment| !segment.writable)
        .filter_map(|segment| Part::of(library, segment))
        .collect();
    let maps = [
        map_of(&constant, &DEVICE)?,
        map_of(&constant, &PHYSICAL)?,
        map_of(&constant, &INSTANCE)?,
    ];
    let [device, physical, instance] = &maps;
    let instance_at = handed_on(library, export)
        .filter(|table| instance.describes(library, *table, &INSTANCE))
        .ok_or(EntriesError::NoTable)?;
    let referenced = |address| constant.iter().any(|part| part.loads_address(address));
    let tables: BTreeSet<u64> = neighbours(
        instance_at,
        [device, physical, instance].map(|map| 8 * map.len),
    )
    .into_iter()
    .filter(|(device_at, physical_at)| {
        physical.describes(library, *physical_at, &PHYSICAL)
            && device.describes(library, *device_at, &DEVICE)
    })
    .map(|(device_at, _)| device_at)
    // An object of its own: the driver hands it on, too.
    .filter(|device_at| referenced(*device_at))
    .collect();
    let mut tables = tables.into_iter();
    let table = tables.next().ok_or(EntriesError::NoNeighbour)?;
    if tables.len() > 0 {
        return Err(EntriesError::Ambiguous(1 + tables.len()));
    }
    let function = |name| device.function(library, table, name);
    match (function("vkAllocateMemory"), function("vkFreeMemory")) {
        (Some(allocate_memory), Some(free_memory)) if allocate_memory != free_memory => {
            Ok(Entries {
                allocate_memory,
                free_memory,
            })
        }
        _ => Err(EntriesError::NoNeighbour),
    }
}

/// A part of the file that does not change once it is loaded.
struct Part {
    address: u64,
    bytes: Vec<u8>,
    executable: bool,
}

impl Part {
    fn of(library: &Library, segment: &Segment) -> Option<Self> {
        let size = usize::try_from(segment.file_size).ok()?.min(MAX_SEARCHED);
        // Nothing is loaded across the end of all addresses: they are counted without a look at it.
        segment.address.checked_add(size as u64 + 8)?;
        Some(Self {
            address: segment.address,
            bytes: library.data(segment.address, size)?,
            executable: segment.executable,
        })
    }

    fn at(&self, address: u64) -> Option<&[u8]> {
        let start = usize::try_from(address.checked_sub(self.address)?).ok()?;
        self.bytes.get(start..)
    }

    /// Addresses of that word, where words may be.
    fn words(&self, wanted: u32) -> impl Iterator<Item = u64> {
        let wanted = wanted.to_le_bytes();
        let (words, _) = self.bytes.as_chunks::<4>();
        (self.address..)
            .step_by(4)
            .zip(words)
            .filter(move |(_, word)| **word == wanted)
            .map(|(address, _)| address)
    }

    /// Addresses of that text, and of longer ones that end so.
    fn texts(&self, text: &str) -> Vec<u64> {
        let text = [text.as_bytes(), b"\0"].concat();
        self.bytes
            .windows(text.len())
            .zip(self.address..)
            .filter(|(window, _)| *window == text)
            .map(|(_, address)| address)
            .take(MAX_PLACES)
            .collect()
    }

    /// Whether some instruction is `lea register, [rip + …]` of that address. By its bytes: where
    /// instructions begin is not known.
    fn loads_address(&self, address: u64) -> bool {
        self.executable
            && self
                .bytes
                .windows(7)
                .zip(self.address + 7..)
                .any(|(window, next)| match *window {
                    [0x48 | 0x4c, 0x8d, mode, a, b, c, d] if mode & 0xc7 == 5 => {
                        let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
                        next.wrapping_add_signed(distance) == address
                    }
                    _ => false,
                })
    }
}

/// A map from names to indices.
#[derive(Debug, PartialEq, Eq)]
struct Map {
    indices: BTreeMap<String, u64>,
    /// Of the table that it describes.
    len: u64,
}

/// Mesa's hash of a name.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0, |hash: u32, byte| {
        hash.wrapping_mul(5_024_183).wrapping_add(u32::from(*byte))
    })
}

fn map_of(parts: &[Part], names: &Names) -> Result<Map, EntriesError> {
    let mut found: Vec<Map> = Vec::new();
    for part in parts {
        let hashes = part.words(hash(names.anchor.as_bytes()));
        let hashes: Vec<u64> = hashes.take(MAX_PLACES).collect();
        if hashes.is_empty() {
            continue;
        }
        let pools = part.texts(names.anchor);
        for hash_at in hashes {
            // Names and entries are constants of one file: they lie in one part.
            for name_at in &pools {
                let map = map_at(part, hash_at.wrapping_sub(4), *name_at);
                if let Some(map) = map.filter(|map| map.indices.len() >= names.least)
                    && !found.contains(&map)
                {
                    found.push(map);
                }
            }
        }
    }
    match found.len() {
        0 => Err(EntriesError::NoMap(names.kind)),
        1 => found.pop().ok_or(EntriesError::NoMap(names.kind)),
        _ => Err(EntriesError::ManyMaps(names.kind)),
    }
}

/// The map around the entry at `anchor`, if its name is the one at `name_at`.
fn map_at(part: &Part, anchor: u64, name_at: u64) -> Option<Map> {
    let (offset, _, _) = entry(part, anchor)?;
    let pool = name_at.checked_sub(u64::from(offset))?;
    let named = |at: u64| -> Option<(String, u64)> {
        let (offset, known, index) = entry(part, at)?;
        let text = part.at(pool.checked_add(u64::from(offset))?)?;
        let end = text.iter().take(MAX_NAME).position(|byte| *byte == 0)?;
        let name = text.get(..end)?;
        let fits = name.starts_with(b"vk") && hash(name) == known;
        let index = u64::from(index);
        (fits && index < MAX_NAMES as u64)
            .then(|| Some((str::from_utf8(name).ok()?.to_owned(), index)))?
    };
    let step = ENTRY as u64;
    let down = std::iter::successors(Some(anchor), |at| at.checked_sub(step)).skip(1);
    let up = std::iter::successors(Some(anchor), |at| at.checked_add(step));
    let mut indices = BTreeMap::new();
    for entries in [
        &mut down.map_while(named) as &mut dyn Iterator<Item = _>,
        &mut up.map_while(named),
    ] {
        indices.extend(entries.take(MAX_NAMES));
    }
    let len = indices.values().max()? + 1;
    Some(Map { indices, len })
}

fn entry(part: &Part, at: u64) -> Option<(u32, u32, u32)> {
    let bytes: [u8; ENTRY] = *part.at(at)?.first_chunk()?;
    let [offset, hash, index] = [0, 4, 8].map(|at| {
        let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        u32::from_le_bytes(word.unwrap_or_default())
    });
    Some((offset, hash, index))
}

impl Map {
    /// Whether what lies there may be the table: functions that every driver has are there, each
    /// once, and nothing but code is pointed to.
    fn describes(&self, library: &Library, table: u64, names: &Names) -> bool {
        let Ok(len) = usize::try_from(self.len) else {
            return false;
        };
        let pointers = library.pointers(table, len);
        let only_code = pointers
            .iter()
            .flatten()
            .all(|function| library.is_code(*function));
        let filled: BTreeSet<Option<u64>> = names
            .filled
            .iter()
            .map(|name| self.slot(&pointers, name))
            .collect();
        only_code && !filled.contains(&None) && filled.len() == names.filled.len()
    }

    fn slot(&self, pointers: &[Option<u64>], name: &str) -> Option<u64> {
        let index = usize::try_from(*self.indices.get(name)?).ok()?;
        *pointers.get(index)?
    }

    fn function(&self, library: &Library, table: u64, name: &str) -> Option<u64> {
        let at = table.checked_add(8 * self.indices.get(name)?)?;
        let function = *library.pointers(at, 1).first()?;
        function.filter(|function| library.is_code(*function))
    }
}

/// Where the device's and the physical device's tables are, if they lie beside the instance's.
fn neighbours(instance: u64, [device, physical, own]: [u64; 3]) -> BTreeSet<(u64, u64)> {
    let mut found = BTreeSet::new();
    for alignment in ALIGNMENTS {
        let below = |at: u64, size: u64| Some(at.checked_sub(size)? & !(alignment - 1));
        let above = |at: u64, size: u64| at.checked_add(size)?.checked_next_multiple_of(alignment);
        let before = below(instance, physical)
            .and_then(|physical_at| Some((below(physical_at, device)?, physical_at)));
        let after = above(instance, own)
            .and_then(|physical_at| Some((above(physical_at, physical)?, physical_at)));
        found.extend(before);
        found.extend(after);
    }
    found
}

/// The first object in writable memory (pointers are written by the loader of programs) whose
/// address a function takes, or one that it jumps to.
fn handed_on(library: &Library, function: u64) -> Option<u64> {
    let is_data = |address: u64| {
        library.segments().iter().any(|segment| {
            segment.writable
                && address
                    .checked_sub(segment.address)
                    .is_some_and(|delta| delta < segment.file_size)
        })
    };
    let mut at = function;
    for _ in 0..MAX_STEPS {
        let instruction = decode(library, at)?;
        if instruction.code() == Code::Lea_r64_m && instruction.memory_base() == Register::RIP {
            let address = instruction.ip_rel_memory_address();
            if is_data(address) {
                return Some(address);
            }
        }
        at = match instruction.flow_control() {
            FlowControl::Next | FlowControl::ConditionalBranch => instruction.next_ip(),
            FlowControl::UnconditionalBranch => instruction.near_branch_target(),
            _ => return None,
        };
    }
    None
}

fn decode(library: &Library, at: u64) -> Option<Instruction> {
    let code = library.code(at, 15)?;
    let mut decoder = Decoder::with_ip(64, &code, at, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

#[cfg(test)]
mod tests;
