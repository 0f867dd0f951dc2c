//! Runs a [`ProbeSpec`]: straight-line code over sixteen registers.

use aya_ebpf::{bindings::pt_regs, helpers::bpf_probe_read_user};
use memmon_ebpf::{
    ledger::PendingKey,
    spec::{MAX_INSTRS, ProbeSpec, REGISTERS, op, width},
};

use crate::maps::PENDING;

/// How a probe's program ended.
pub enum Outcome {
    Done,
    /// The probed call says that it failed.
    CallFailed,
    /// A predicate filtered it out.
    NoEvent,
    ReadFailed,
}

type Registers = [u64; REGISTERS];

/// All zero, store by store: `[0; N]` would call a byte loop.
#[inline(always)]
pub fn registers() -> Registers {
    let mut values = core::mem::MaybeUninit::<Registers>::uninit();
    let first: *mut u64 = values.as_mut_ptr().cast();
    // SAFETY: every element is written, within the array.
    unsafe {
        let mut index = 0;
        while index < REGISTERS {
            first.add(index).write_volatile(0);
            index += 1;
        }
        values.assume_init()
    }
}

#[inline(always)]
pub fn run(
    spec: &ProbeSpec,
    regs: *const pt_regs,
    pending: &PendingKey,
    values: &mut Registers,
) -> Outcome {
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
                match load(sp.wrapping_add(imm.wrapping_mul(8)), width::U64) {
                    Some(value) => value,
                    None => return Outcome::ReadFailed,
                }
            }
            // SAFETY: as above.
            op::RET => unsafe { (*regs).rax },
            op::CONST => imm,
            op::CONST_HIGH => (values[dst] & 0xffff_ffff) | (imm << 32),
            op::LOAD => match load(a.wrapping_add(imm), instr.b) {
                Some(value) => value,
                None => return Outcome::ReadFailed,
            },
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
            op::PENDING => match PENDING.get_ptr(pending) {
                // SAFETY: a map value stays readable until the program ends.
                Some(pending) if unsafe { (*pending).proc } != 0 => unsafe {
                    (*pending).outputs[instr.imm as usize & 7]
                },
                _ => 0,
            },
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

#[inline(always)]
fn load(address: u64, kind: u8) -> Option<u64> {
    // One read of the widest size could cross into an unmapped page: read what was asked for.
    // SAFETY: the helper checks the address and fails where it cannot be read.
    let value = unsafe {
        match kind & !width::SIGNED {
            width::U8 => bpf_probe_read_user(address as *const u8).ok()? as u64,
            width::U16 => bpf_probe_read_user(address as *const u16).ok()? as u64,
            width::U32 => bpf_probe_read_user(address as *const u32).ok()? as u64,
            _ => bpf_probe_read_user(address as *const u64).ok()?,
        }
    };
    Some(narrow(value, kind))
}

#[inline(always)]
fn narrow(value: u64, kind: u8) -> u64 {
    let shift = match kind & !width::SIGNED {
        width::U8 => 56,
        width::U16 => 48,
        width::U32 => 32,
        _ => 0,
    };
    if kind & width::SIGNED == 0 {
        (value << shift) >> shift
    } else {
        (((value << shift) as i64) >> shift) as u64
    }
}
