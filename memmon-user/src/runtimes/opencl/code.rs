//! Small pieces of a function's code.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::elf::Library;

/// What is read of a function whose size is not known.
const MOST_BYTES: usize = 16 << 10;

/// The instructions from `address` on: the function and what comes after it, or less.
pub(super) fn instructions(library: &Library, address: u64, most: usize) -> Vec<Instruction> {
    let Some(bytes) = library.code(address, MOST_BYTES) else {
        return Vec::new();
    };
    Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE)
        .into_iter()
        .take_while(|instruction| !instruction.is_invalid())
        .take(most)
        .collect()
}

/// An address that the instruction puts into a register: `lea`, or what lies in a slot that is filled at loading.
pub(super) fn address_taken(library: &Library, instruction: &Instruction) -> Option<u64> {
    let relative =
        instruction.memory_base() == Register::RIP && instruction.op1_kind() == OpKind::Memory;
    if !relative {
        return None;
    }
    let address = instruction.ip_rel_memory_address();
    match instruction.mnemonic() {
        Mnemonic::Lea => Some(address),
        Mnemonic::Mov if instruction.op0_kind() == OpKind::Register => pointer(library, address),
        _ => None,
    }
}

/// The pointer at `address`, once the library is loaded.
pub(super) fn pointer(library: &Library, address: u64) -> Option<u64> {
    pointers(library, address, 1).into_iter().next().flatten()
}

/// `count` pointers from `address` on. Where no relocation is told for one, what the file holds: of packed relocations
/// (`SHT_RELR`) it is what is added to.
pub(super) fn pointers(library: &Library, address: u64, count: usize) -> Vec<Option<u64>> {
    let mut found = library.pointers(address, count);
    let file = library
        .data(address, count.saturating_mul(8))
        .unwrap_or_default();
    for (found, bytes) in found.iter_mut().zip(file.chunks_exact(8)) {
        let held = bytes.try_into().map_or(0, u64::from_le_bytes);
        if found.is_none() && held != 0 {
            *found = Some(held);
        }
    }
    found
}
