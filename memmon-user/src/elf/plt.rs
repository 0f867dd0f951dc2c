//! The stub through which a library calls an imported function.
//!
//! Probing the stub sees this library's calls only; probing the function itself would see those
//! of every program that uses the library it lives in.

use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic, Register};
use object::{LittleEndian as LE, elf};

use super::{Library, source};

/// Stub sections larger than this are not searched.
const MAX_STUBS: u64 = 64 << 20;
/// Sections of one kind that are looked at. Real libraries have two or three.
const MAX_PLACES: usize = 8;
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

    pub(super) fn relocations(
        &self,
        mut each: impl FnMut(&elf::Rela64<LE>, &super::symbols::SymbolTable),
    ) {
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
