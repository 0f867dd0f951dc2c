//! Runs a [`ProbeSpec`]: straight-line code over sixteen registers.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_probe_read_user};
use memmon_ebpf::{
    ledger::proc_flag,
    spec::{BLOCK_WORDS, MAX_INSTRS, ProbeSpec, REGISTERS, op, width},
};

use crate::{maps::PENDING, memory, process::Process};

/// How a probe's program ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    Done,
    /// The probed call says that it failed.
    CallFailed,
    /// A predicate filtered it out.
    NoEvent,
    ReadFailed,
}

pub type Registers = [u64; REGISTERS];
/// What was read last.
type Block = [u64; BLOCK_WORDS];

/// Zero, store by store and in place: `[0; N]` would call a loop over bytes, and so would a copy.
#[inline(always)]
pub fn zeroed<const N: usize>(words: &mut MaybeUninit<[u64; N]>) -> &mut [u64; N] {
    let first: *mut u64 = words.as_mut_ptr().cast();
    // SAFETY: every element is written, within the array.
    unsafe {
        let mut index = 0;
        while index < N {
            first.add(index).write_volatile(0);
            index += 1;
        }
        words.assume_init_mut()
    }
}

/// A function of its own: its part of the stack is free again when the ledger needs one.
#[inline(never)]
pub fn run(
    spec: &ProbeSpec,
    regs: *const pt_regs,
    process: &Process,
    values: &mut Registers,
) -> Outcome {
    let mut block = MaybeUninit::<Block>::uninit();
    let block = zeroed(&mut block);
    let len = spec.len as usize;
    for index in 0..MAX_INSTRS {
        if index >= len {
            break;
        }
        let instr = spec.code[index];
        // The mask shows the verifier what userspace guarantees.
        let a = values[instr.a as usize & (REGISTERS - 1)];
        let b = values[instr.b as usize & (REGISTERS - 1)];
        let dst = instr.dst as usize & (REGISTERS - 1);
        let imm = instr.imm as i64 as u64;
        let value = match instr.op {
            op::ARG => argument(regs, instr.imm),
            op::STACK => {
                // SAFETY: the kernel hands a valid register set.
                let sp = unsafe { (*regs).rsp };
                if !read(block, sp.wrapping_add(imm.wrapping_mul(8)), width::U64) {
                    return Outcome::ReadFailed;
                }
                block[0]
            }
            // SAFETY: as above.
            op::RET => unsafe { (*regs).rax },
            op::CONST => imm,
            op::CONST_HIGH => (values[dst] & 0xffff_ffff) | (imm << 32),
            op::LOAD => {
                // One read of the widest size could cross into an unmapped page: what was asked for.
                block[0] = 0;
                if !read(block, a.wrapping_add(imm), instr.b & !width::SIGNED) {
                    return Outcome::ReadFailed;
                }
                narrow(block[0], instr.b)
            }
            op::TRY_LOAD => {
                block[0] = 0;
                if read(block, a.wrapping_add(imm), instr.b & !width::SIGNED) {
                    narrow(block[0], instr.b)
                } else {
                    0
                }
            }
            op::BLOCK => {
                if !read(block, a.wrapping_add(imm), instr.b) {
                    return Outcome::ReadFailed;
                }
                continue;
            }
            op::FIELD => {
                let word = instr.a as usize;
                if word >= BLOCK_WORDS {
                    return Outcome::ReadFailed;
                }
                narrow(block[word] >> (imm & 63), instr.b)
            }
            op::CAST => narrow(a, instr.b),
            op::ADD => a.wrapping_add(b),
            op::SUB => a.wrapping_sub(b),
            op::MUL => a.wrapping_mul(b),
            op::DIV => {
                if b == 0 {
                    return Outcome::ReadFailed;
                }
                a / b
            }
            op::DIV_CEIL => {
                if b == 0 {
                    return Outcome::ReadFailed;
                }
                a.wrapping_add(b - 1) / b
            }
            op::ALIGN_UP => {
                if b == 0 {
                    return Outcome::ReadFailed;
                }
                (a.wrapping_add(b - 1) / b).wrapping_mul(b)
            }
            op::AND => a & b,
            op::OR => a | b,
            op::SHL => a << (b & 63),
            op::SHR => a >> (b & 63),
            op::EQ => (a == b) as u64,
            op::LT => (a < b) as u64,
            op::SELECT => {
                if a != 0 {
                    b
                } else {
                    values[dst]
                }
            }
            op::REQUIRE => {
                if a == 0 {
                    return Outcome::NoEvent;
                }
                continue;
            }
            op::SUCCEED => {
                if a == 0 {
                    return Outcome::CallFailed;
                }
                continue;
            }
            op::PENDING => match PENDING.get_ptr(&memory::slot(spec, process)) {
                // SAFETY: a map value stays readable until the program ends.
                Some(pending) if unsafe { (*pending).proc } == process.proc => unsafe {
                    (*pending).outputs[instr.imm as usize & 7]
                },
                // A call that was none of ours at its entry, or began before anybody observed it.
                _ => return Outcome::NoEvent,
            },
            op::CARRIED => {
                memory::memmon_carried(process.proc, spec.space, process.tid, instr.imm as u32)
            }
            op::NOTED => memory::memmon_noted(process.proc, spec.space, a),
            op::CURRENT => memory::memmon_current(process.proc, spec.space, process.tid),
            // SAFETY: as above.
            op::POSITION => unsafe { (*regs).rip },
            op::WHOLE => (process.flags & proc_flag::WHOLE != 0) as u64,
            _ => return Outcome::ReadFailed,
        };
        values[dst] = value;
    }
    Outcome::Done
}

#[inline(always)]
fn argument(regs: *const pt_regs, index: i32) -> u64 {
    // SAFETY: the kernel hands a valid register set.
    let regs = unsafe { &*regs };
    match index {
        0 => regs.rdi,
        1 => regs.rsi,
        2 => regs.rdx,
        3 => regs.rcx,
        4 => regs.r8,
        _ => regs.r9,
    }
}

/// Fills the beginning of the block from the target; the rest stays. One call for every size: each
/// place that calls is verified anew.
#[inline(always)]
fn read(block: &mut Block, address: u64, bytes: u8) -> bool {
    let bytes = bytes as u32;
    if bytes as usize > size_of::<Block>() {
        return false;
    }
    // SAFETY: the block has room for that; the helper checks the address and fails where it cannot be read.
    unsafe { bpf_probe_read_user(block.as_mut_ptr().cast(), bytes, address as *const _) == 0 }
}

/// Widths are powers of two up to 8.
#[inline(always)]
fn narrow(value: u64, kind: u8) -> u64 {
    let shift = (64 - 8 * (kind & !width::SIGNED) as u32) & 63;
    if kind & width::SIGNED == 0 {
        (value << shift) >> shift
    } else {
        (((value << shift) as i64) >> shift) as u64
    }
}
