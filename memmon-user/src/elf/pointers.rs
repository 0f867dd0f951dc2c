//! Pointers of a library into itself, which in the file are only relocations.

use std::collections::{BTreeMap, BTreeSet};

use object::{LittleEndian as LE, elf};

use super::Library;

/// Functions that run as a library is loaded, of which more are not looked at.
const MAX_INITIALIZERS: usize = 4_096;

impl Library {
    /// What `count` pointers from `start` will be (before any load bias) once the library is
    /// loaded: the contents of a virtual table, say, which in the file are only relocations.
    pub fn pointers(&self, start: u64, count: usize) -> Vec<Option<u64>> {
        let mut found = vec![None; count];
        self.each_pointer(|address, value| {
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
        if !wanted.is_empty() {
            self.each_pointer(|address, value| {
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

    fn each_pointer(&self, mut each: impl FnMut(u64, u64)) {
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
    }
}
