//! A probe's program run in plain Rust: what the BPF interpreter must do with it.

use memmon_ebpf::{
    WIRE_VERSION,
    spec::{BLOCK_WORDS, Instr, MAX_INSTRS, NOTHING, ProbeSpec, REGISTERS, op, reg, width},
};

use crate::runtimes::profile::expression::arithmetic;
use crate::target::memory::Memory;

/// What a probe finds when it is hit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hit {
    pub arguments: [u64; 6],
    pub stack_pointer: u64,
    pub returned: u64,
    /// The outputs that `begin` left for this thread, if an allocation is pending.
    pub pending: Option<[u64; 8]>,
    /// The outputs that `carry` left for this thread.
    pub carried: Option<[u64; 8]>,
    /// Where the probe stands.
    pub position: u64,
    /// Whether the process has been seen from its start.
    pub whole: bool,
    /// What this thread works with.
    pub current: Option<u64>,
    /// What was noted under every key.
    pub noted: Option<u64>,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The action happens, with these outputs; 0 where `mask` lacks the bit.
    Event { outputs: [u64; 8], mask: u8 },
    /// `SUCCEED` said no; the outputs set up to there.
    Failed { outputs: [u64; 8], mask: u8 },
    /// `REQUIRE` said no: nothing happens.
    None,
    /// Memory could not be read, or a divisor was zero.
    Fault,
    /// No program of this version.
    Bad,
}

/// Runs the program.
pub fn evaluate(spec: &ProbeSpec, hit: &Hit, memory: &impl Memory) -> Outcome {
    let Some(code) = spec.code.get(..usize::from(spec.len)) else {
        return Outcome::Bad;
    };
    if spec.version != WIRE_VERSION || code.len() > MAX_INSTRS {
        return Outcome::Bad;
    }
    let mut registers = [0_u64; REGISTERS];
    let mut written = 0_u16;
    let mut block = [0_u8; 8 * BLOCK_WORDS];
    for instr in code {
        match step(instr, hit, memory, &registers, &mut block) {
            Step::Set(value) => {
                let Some(register) = registers.get_mut(usize::from(instr.dst)) else {
                    return Outcome::Bad;
                };
                *register = value;
                written |= 1 << instr.dst;
            }
            Step::Go => {}
            Step::Failed => {
                // Where there is a `SUCCEED`, the compiler uses output registers for nothing else.
                let mask = spec.outputs & (written & 0xff) as u8;
                return Outcome::Failed {
                    outputs: outputs(&registers, mask),
                    mask,
                };
            }
            Step::End(outcome) => return outcome,
        }
    }
    Outcome::Event {
        outputs: outputs(&registers, spec.outputs),
        mask: spec.outputs,
    }
}

fn outputs(registers: &[u64; REGISTERS], mask: u8) -> [u64; 8] {
    let mut outputs = [0; reg::OUTPUTS as usize];
    for (index, (output, register)) in outputs.iter_mut().zip(registers).enumerate() {
        if mask & (1 << index) != 0 {
            *output = *register;
        }
    }
    outputs
}

enum Step {
    Set(u64),
    Go,
    Failed,
    End(Outcome),
}

fn step(
    instr: &Instr,
    hit: &Hit,
    memory: &impl Memory,
    registers: &[u64; REGISTERS],
    block: &mut [u8; 8 * BLOCK_WORDS],
) -> Step {
    let register = |index: u8| registers.get(usize::from(index)).copied();
    if instr.op == op::FIELD {
        return field(instr, block);
    }
    let (Some(a), index) = (register(instr.a), usize::try_from(instr.imm)) else {
        return Step::End(Outcome::Bad);
    };
    let value = match instr.op {
        op::ARG => index
            .ok()
            .and_then(|index| hit.arguments.get(index).copied()),
        op::STACK => {
            let offset = i64::from(instr.imm).wrapping_mul(8);
            let address = hit.stack_pointer.wrapping_add_signed(offset);
            return load(memory, address, width::U64);
        }
        op::RET => Some(hit.returned),
        op::PENDING => {
            let Some(pending) = hit.pending else {
                return Step::End(Outcome::None);
            };
            index.ok().and_then(|index| pending.get(index).copied())
        }
        op::CARRIED => index.ok().and_then(|index| {
            let carried = hit.carried.unwrap_or_default();
            carried.get(index).copied()
        }),
        op::POSITION => Some(hit.position),
        op::WHOLE => Some(hit.whole.into()),
        op::CURRENT => Some(hit.current.unwrap_or(NOTHING)),
        op::NOTED => Some(hit.noted.unwrap_or(NOTHING)),
        op::TRY_LOAD => {
            let address = a.wrapping_add_signed(i64::from(instr.imm));
            return match load(memory, address, instr.b) {
                Step::End(Outcome::Fault) => Step::Set(0),
                other => other,
            };
        }
        op::CONST => Some(i64::from(instr.imm).cast_unsigned()),
        op::CONST_HIGH => register(instr.dst)
            .map(|low| (low & 0xffff_ffff) | (u64::from(instr.imm.cast_unsigned()) << 32)),
        op::LOAD => {
            let address = a.wrapping_add_signed(i64::from(instr.imm));
            return load(memory, address, instr.b);
        }
        op::BLOCK => {
            let address = a.wrapping_add_signed(i64::from(instr.imm));
            return match block.get_mut(..usize::from(instr.b)) {
                Some(room) => match memory.read(address, room) {
                    Ok(()) => Step::Go,
                    Err(_) => Step::End(Outcome::Fault),
                },
                None => Step::End(Outcome::Bad),
            };
        }
        op::CAST => known(instr.b).then(|| arithmetic::narrow(a, instr.b)),
        op::ADD..=op::LT => {
            let Some(b) = register(instr.b) else {
                return Step::End(Outcome::Bad);
            };
            return match arithmetic::binary(instr.op, a, b) {
                Some(value) => Step::Set(value),
                None => Step::End(Outcome::Fault),
            };
        }
        op::SELECT => {
            if a == 0 {
                register(instr.dst)
            } else {
                register(instr.b)
            }
        }
        op::REQUIRE if a == 0 => return Step::End(Outcome::None),
        op::SUCCEED if a == 0 => return Step::Failed,
        op::REQUIRE | op::SUCCEED => return Step::Go,
        _ => None,
    };
    value.map_or(Step::End(Outcome::Bad), Step::Set)
}

fn known(wide: u8) -> bool {
    matches!(
        wide & !width::SIGNED,
        width::U8 | width::U16 | width::U32 | width::U64
    )
}

fn field(instr: &Instr, block: &[u8; 8 * BLOCK_WORDS]) -> Step {
    let word = block.chunks_exact(8).nth(usize::from(instr.a));
    match word.and_then(|word| word.try_into().ok()) {
        Some(bytes) if known(instr.b) => {
            let shifted = u64::from_le_bytes(bytes) >> (instr.imm & 63);
            Step::Set(arithmetic::narrow(shifted, instr.b))
        }
        _ => Step::End(Outcome::Bad),
    }
}

fn load(memory: &impl Memory, address: u64, wide: u8) -> Step {
    if !known(wide) {
        return Step::End(Outcome::Bad);
    }
    let mut bytes = [0; 8];
    let Some(room) = bytes.get_mut(..usize::from(wide & !width::SIGNED)) else {
        return Step::End(Outcome::Bad);
    };
    match memory.read(address, room) {
        Ok(()) => Step::Set(arithmetic::narrow(u64::from_le_bytes(bytes), wide)),
        Err(_) => Step::End(Outcome::Fault),
    }
}
