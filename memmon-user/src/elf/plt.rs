//! The stub through which a library calls an imported function.
//!
//! Probing the stub sees this library's calls only; probing the function itself would see those
//! of every program that uses the library it lives in.

use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic, Register};
use object::{LittleEndian as LE, elf};

use super::{Library, source};

/// Stub sections larger than this are not searched.
const MAX_STUBS: u64 = 64 << 20;
/// Sections of one kind that are looked at. Real libraries have two or three.
const MAX_PLACES: usize = 8;
/// Packed relocations beyond this are not looked at. Real libraries have some kilobytes.
const MAX_PACKED: u64 = 16 << 20;
/// Slots that one import may have. Real libraries have one or two.
const MAX_SLOTS: usize = 64;

impl Library {
    /// The address of the stub that jumps to `import`; none where it is called otherwise.
    pub fn plt_stub(&self, import: &str) -> Option<u64> {
        let slots = self.slots(import);
        if slots.is_empty() {
            return None;
        }
        self.sections
            .iter()
            .filter(|section| section.name.starts_with(".plt") && section.size <= MAX_STUBS)
            .filter(|section| self.is_code(section.address))
            .take(MAX_PLACES)
            .find_map(|section| {
                let code = self.section_bytes(section, "the stubs").ok()?;
                let step = if section.entry_size == 8 || section.name == ".plt.got" {
                    8
                } else {
                    16
                };
                stub_in(&code, section.address, step, &slots)
            })
    }

    /// What `count` pointers from `start` will be (before any load bias) once the library is
    /// loaded: the contents of a virtual table, say, which in the file are only relocations.
    pub fn pointers(&self, start: u64, count: usize) -> Vec<Option<u64>> {
        let mut found = vec![None; count];
        let mut put = |address: u64, value: u64| {
            if let Some(delta) = address.checked_sub(start)
                && delta % 8 == 0
                && let Ok(index) = usize::try_from(delta / 8)
                && let Some(slot) = found.get_mut(index)
            {
                *slot = Some(value);
            }
        };
        self.relocations(|relocation, symbols| {
            let addend = relocation.r_addend.get(LE).cast_unsigned();
            let info = relocation.r_info.get(LE);
            match u32::try_from(info & 0xffff_ffff).map(elf::RelocationType) {
                Ok(elf::R_X86_64_RELATIVE) => put(relocation.r_offset.get(LE), addend),
                Ok(elf::R_X86_64_64) => {
                    let symbol = u32::try_from(info >> 32).ok();
                    if let Some(value) = symbol.and_then(|index| symbols.value(index)) {
                        put(relocation.r_offset.get(LE), value.wrapping_add(addend));
                    }
                }
                _ => {}
            }
        });
        let size = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(8);
        self.relative_places(start..start.saturating_add(size), |place| {
            let word = self.data(place, 8).and_then(|word| word.try_into().ok());
            if let Some(word) = word {
                put(place, u64::from_le_bytes(word));
            }
        });
        found
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

    /// The table slots that the loader fills with the address of `import`.
    fn slots(&self, import: &str) -> Vec<u64> {
        let mut slots = Vec::new();
        self.relocations(|relocation, symbols| {
            let info = relocation.r_info.get(LE);
            let kind = u32::try_from(info & 0xffff_ffff).map(elf::RelocationType);
            if !matches!(
                kind,
                Ok(elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_GLOB_DAT | elf::R_X86_64_64)
            ) {
                return;
            }
            let symbol = u32::try_from(info >> 32).unwrap_or(0);
            if symbol != 0
                && slots.len() < MAX_SLOTS
                && symbols.name(symbol) == Some(import.as_bytes())
            {
                slots.push(relocation.r_offset.get(LE));
            }
        });
        slots
    }

    fn relocations(&self, mut each: impl FnMut(&elf::Rela64<LE>, &super::symbols::SymbolTable)) {
        let symbols = self.dynsym();
        // Sections that are not loaded (of `--emit-relocs`) refer to another table.
        let loaded = self
            .sections_of(elf::SHT_RELA.0)
            .filter(|section| section.address != 0);
        for section in loaded.take(MAX_PLACES) {
            let Ok(bytes) = self.section_bytes(section, "the relocations") else {
                continue;
            };
            for relocation in source::entries::<elf::Rela64<LE>>(&bytes).unwrap_or_default() {
                each(relocation, symbols);
            }
        }
    }
}

/// The entry, on a multiple of `step`, whose jump goes through one of `slots`.
fn stub_in(code: &[u8], base: u64, step: usize, slots: &[u64]) -> Option<u64> {
    for start in (0..code.len()).step_by(step) {
        let entry = code.get(start..(start + step).min(code.len()))?;
        let address = base.checked_add(u64::try_from(start).ok()?)?;
        let decoder = Decoder::with_ip(64, entry, address, DecoderOptions::NONE);
        for instruction in decoder {
            if instruction.mnemonic() == Mnemonic::Jmp {
                if instruction.memory_base() == Register::RIP
                    && slots.contains(&instruction.ip_rel_memory_address())
                {
                    return Some(address);
                }
                break;
            }
            // What may come before the jump: a landing pad, the slot's number.
            let before = matches!(
                instruction.code(),
                Code::Endbr64 | Code::Mov_r32_imm32 | Code::Lea_r64_m
            ) || instruction.mnemonic() == Mnemonic::Nop;
            if !before {
                break;
            }
        }
    }
    None
}
