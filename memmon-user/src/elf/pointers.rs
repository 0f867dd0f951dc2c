//! Pointers of a library into itself, which in the file are only relocations.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use object::{LittleEndian as LE, elf};

use super::Library;

/// Functions that run as a library is loaded, of which more are not looked at.
const MAX_INITIALIZERS: usize = 4_096;
/// Sections of one kind that are looked at. Real libraries have one.
const MAX_PLACES: usize = 8;
/// Packed relocations beyond this are not looked at. Real libraries have some kilobytes.
const MAX_PACKED: u64 = 16 << 20;

impl Library {
    /// What `count` pointers from `start` will be (before any load bias) once the library is
    /// loaded: the contents of a virtual table, say, which in the file are only relocations.
    pub fn pointers(&self, start: u64, count: usize) -> Vec<Option<u64>> {
        let mut found = vec![None; count];
        let bytes = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(8);
        let range = start..start.saturating_add(bytes);
        self.each_pointer(range, |address, value| {
            if let Some(delta) = address.checked_sub(start)
                && delta % 8 == 0
                && let Ok(index) = usize::try_from(delta / 8)
                && let Some(slot) = found.get_mut(index)
            {
                *slot = Some(value);
            }
        });
        found
    }

    /// The same for pointers that lie here and there.
    pub fn pointers_at(&self, wanted: &BTreeSet<u64>) -> BTreeMap<u64, u64> {
        let mut found = BTreeMap::new();
        if let (Some(first), Some(last)) = (wanted.first(), wanted.last()) {
            self.each_pointer(*first..last.saturating_add(8), |address, value| {
                if wanted.contains(&address) {
                    found.insert(address, value);
                }
            });
        }
        found
    }

    /// The functions that run as the library is loaded, in that order.
    pub fn initializers(&self) -> Vec<u64> {
        let places: BTreeSet<u64> = self
            .sections_of(elf::SHT_INIT_ARRAY.0)
            .flat_map(|section| {
                let places = (0..section.size / 8).take(MAX_INITIALIZERS);
                places.map(|index| section.address.wrapping_add(index * 8))
            })
            .take(MAX_INITIALIZERS)
            .collect();
        self.pointers_at(&places).into_values().collect()
    }

    /// All that lie in the range; of some kinds, others too.
    fn each_pointer(&self, range: Range<u64>, mut each: impl FnMut(u64, u64)) {
        self.relocations(|relocation, symbols| {
            let place = relocation.r_offset.get(LE);
            let addend = relocation.r_addend.get(LE).cast_unsigned();
            let info = relocation.r_info.get(LE);
            match u32::try_from(info & 0xffff_ffff).map(elf::RelocationType) {
                Ok(elf::R_X86_64_RELATIVE) => each(place, addend),
                // Another library may define the symbol too and come first; what is asked for here are functions
                // that a library hands out of itself.
                Ok(elf::R_X86_64_64 | elf::R_X86_64_GLOB_DAT) => {
                    let symbol = u32::try_from(info >> 32).ok();
                    if let Some(value) = symbol.and_then(|index| symbols.value(index)) {
                        each(place, value.wrapping_add(addend));
                    }
                }
                _ => {}
            }
        });
        self.relative_places(range, |place| {
            let word = self.data(place, 8).and_then(|word| word.try_into().ok());
            if let Some(word) = word {
                each(place, u64::from_le_bytes(word));
            }
        });
    }

    /// Places in the range of which packed relocations say no more than that the load bias is to be
    /// added: the value stands there already.
    fn relative_places(&self, range: Range<u64>, mut each: impl FnMut(u64)) {
        let packed = self
            .sections_of(elf::SHT_RELR.0)
            .filter(|section| section.address != 0 && section.size <= MAX_PACKED);
        for section in packed.take(MAX_PLACES) {
            let Ok(bytes) = self.section_bytes(section, "the relocations") else {
                continue;
            };
            let (words, _) = bytes.as_chunks::<8>();
            // A place, then bits for the 63 words from the one behind it, then for the next 63, …
            let mut next = 0_u64;
            for word in words.iter().copied().map(u64::from_le_bytes) {
                if word & 1 == 0 {
                    if range.contains(&word) {
                        each(word);
                    }
                    next = word.wrapping_add(8);
                    continue;
                }
                let end = next.wrapping_add(63 * 8);
                if next < range.end && end > range.start {
                    (0..63)
                        .filter(|bit| word >> (bit + 1) & 1 == 1)
                        .map(|bit| next.wrapping_add(8 * bit))
                        .filter(|place| range.contains(place))
                        .for_each(&mut each);
                }
                next = end;
            }
        }
    }
}
