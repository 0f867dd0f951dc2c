//! Where in a function a probe is placed: at its entry, or a few instructions on, where the kernel need not step.
//!
//! A breakpoint takes an instruction's place. A push, a nop and relative jumps and calls the kernel emulates; any other
//! it steps through, which costs 14 to 30 times as much. Functions that begin with such another (`endbr64`, `sub`, `mov`)
//! often have an emulated one soon after it. A probe moves there only where decoding the whole function proves that it
//! sees the same: every call comes by exactly once, and what the probe looks at is as it was at the entry. Else it stays.

use std::ops::RangeInclusive;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};
use memmon_ebpf::spec::{ProbeSpec, op};

use crate::elf::{Library, abi::ARGUMENTS};

/// Longer functions are not decoded: their probes stay at the entry.
const MAX_FUNCTION: usize = 64 << 10;
/// How far a probe moves at the most, instructions.
const MAX_MOVE: usize = 12;
/// The longest instruction.
const MAX_INSTRUCTION: usize = 15;
/// Code that is searched for jumps from elsewhere, bytes: larger libraries keep their probes at the entry.
const MAX_TEXT: u64 = 1 << 30;

/// A place in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    pub address: u64,
    /// The kernel steps through what stands there.
    pub single_stepped: bool,
}

/// What a probe looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// One bit for each integer argument in a register.
    arguments: u8,
    /// The stack: an argument there, or the return address.
    stack: bool,
}

impl Needs {
    pub fn of(spec: &ProbeSpec, at_return: bool) -> Self {
        // The kernel takes the return address from where the stack pointer is when it places a probe at a return.
        let mut needs = Self {
            arguments: 0,
            stack: at_return,
        };
        for instr in spec.code.iter().take(usize::from(spec.len)) {
            match instr.op {
                op::ARG if !at_return => {
                    needs.arguments |= 1 << instr.imm.clamp(0, 7);
                }
                op::STACK => needs.stack = true,
                _ => {}
            }
        }
        needs
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            arguments: self.arguments | other.arguments,
            stack: self.stack || other.stack,
        }
    }

    fn has(self, register: Register) -> bool {
        let argument = ARGUMENTS.iter().position(|known| *known == register);
        argument.is_some_and(|index| self.arguments & (1 << index) != 0)
            || (self.stack && register == Register::RSP)
    }
}

/// Where to place the probes of the function at `address`, `size` bytes long (0: that is not known).
pub fn of(library: &Library, address: u64, size: u64, needs: Needs) -> Landing {
    let stay = |code: &[u8]| Landing {
        address,
        single_stepped: !is_emulated(code),
    };
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    let code = library
        .code(address, length.clamp(MAX_INSTRUCTION, MAX_FUNCTION))
        .unwrap_or_default();
    if is_emulated(&code) || size == 0 {
        return stay(&code);
    }
    // Bytes after the end are another function's.
    let body = code.get(..length);
    match body.and_then(|body| proven(body, address, needs)) {
        Some(moved) if !is_entered(library, address, size, address + 1..=moved) => Landing {
            address: moved,
            single_stepped: false,
        },
        _ => stay(&code),
    }
}

/// Whether the kernel emulates the instruction (arch/x86/kernel/uprobes.c): the forms that all releases do, none with a
/// prefix but the one of `push %r8` to `%r15`. Longer nops are emulated by new releases only.
fn is_emulated(code: &[u8]) -> bool {
    matches!(
        code,
        [0x50..=0x57 | 0x90 | 0x70..=0x7f | 0xe8 | 0xe9 | 0xeb, ..]
            | [0x41, 0x50..=0x57, ..]
            | [0x0f, 0x80..=0x8f, ..]
    )
}

/// The first emulated instruction, where every call of the function comes by it once and with everything in place that
/// the probe needs. `code` is all of the function.
fn proven(code: &[u8], address: u64, needs: Needs) -> Option<u64> {
    let end = address.checked_add(code.len() as u64)?;
    let mut instructions = Vec::new();
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            // Data between the code, or not understood: what else might be there is not known.
            return None;
        }
        instructions.push(instruction);
    }
    let bytes = |instruction: &Instruction| {
        let from = usize::try_from(instruction.ip() - address).ok()?;
        code.get(from..)
    };
    let index = instructions
        .iter()
        .take(MAX_MOVE + 1)
        .position(|instruction| bytes(instruction).is_some_and(is_emulated))?;
    let (before, rest) = instructions.split_at(index);
    let point = rest.first()?.ip();
    let mut info = InstructionInfoFactory::new();
    if !before
        .iter()
        .all(|instruction| keeps(instruction, needs, &mut info))
    {
        return None;
    }
    let passed = address + 1..=point;
    let fine = instructions.iter().all(|instruction| {
        if may_go_anywhere(instruction) {
            return false;
        }
        let Some(target) = target(instruction) else {
            return true;
        };
        let boundary = || {
            instructions
                .binary_search_by_key(&target, Instruction::ip)
                .is_ok()
        };
        !passed.contains(&target) && (!(address..end).contains(&target) || boundary())
    });
    fine.then_some(point)
}

/// Goes on to the next instruction, changes no memory, and nothing that the probe needs.
fn keeps(instruction: &Instruction, needs: Needs, info: &mut InstructionInfoFactory) -> bool {
    let writes = |access: OpAccess| {
        !matches!(
            access,
            OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
        )
    };
    let info = info.info(instruction);
    instruction.flow_control() == FlowControl::Next
        && !instruction.has_lock_prefix()
        && !instruction.is_privileged()
        && !info.used_memory().iter().any(|used| writes(used.access()))
        && !info
            .used_registers()
            .iter()
            .any(|used| writes(used.access()) && needs.has(used.register().full_register()))
}

fn may_go_anywhere(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::IndirectBranch | FlowControl::XbeginXabortXend
    )
}

/// The code that an instruction names: where it jumps, what it calls, or whose address it takes.
fn target(instruction: &Instruction) -> Option<u64> {
    if matches!(
        instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    ) {
        return Some(instruction.near_branch_target());
    }
    instruction
        .is_ip_rel_memory_operand()
        .then(|| instruction.ip_rel_memory_address())
}

/// Whether code of another function may jump to where the probe passes, or another name stands there.
fn is_entered(library: &Library, address: u64, size: u64, passed: RangeInclusive<u64>) -> bool {
    library.has_symbol_in(passed.clone())
        || library
            .segments()
            .iter()
            .filter(|segment| segment.executable)
            .any(|segment| {
                if segment.file_size > MAX_TEXT {
                    return true;
                }
                let all = usize::try_from(segment.file_size).unwrap_or(usize::MAX);
                let Some(text) = library.code(segment.address, all) else {
                    return true;
                };
                let own = address..address + size;
                far_jumps(&text, segment.address)
                    .any(|(from, to)| passed.contains(&to) && !own.contains(&from))
            })
}

/// Everything that may be a jump or call over a 32-bit distance, wherever instructions begin: where, and where to.
fn far_jumps(text: &[u8], address: u64) -> impl Iterator<Item = (u64, u64)> {
    text.windows(6).enumerate().filter_map(move |(at, bytes)| {
        let (length, distance) = match *bytes {
            [0xe8 | 0xe9, a, b, c, d, _] => (5, [a, b, c, d]),
            [0x0f, 0x80..=0x8f, a, b, c, d] => (6, [a, b, c, d]),
            _ => return None,
        };
        let from = address.wrapping_add(at as u64);
        let next = from.wrapping_add(length);
        let to = next.wrapping_add_signed(i32::from_le_bytes(distance).into());
        Some((from, to))
    })
}

#[cfg(test)]
mod tests;
