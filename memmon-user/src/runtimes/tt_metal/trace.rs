//! What a small function does with the memory its arguments point to.
//!
//! Offsets of fields are read from the library's own accessors. Matching their bytes would break
//! with the next compiler; instead a function is followed symbolically: every register is either
//! unknown, a constant, or a chain of loads that starts at an argument. What comes out is a list
//! of [`Event`]s in such terms ("a byte at `*(argument 0 + 0x10) + 0x38` is compared with 1"),
//! which says the same whichever registers and prologue the compiler chose.
//!
//! Each instruction is visited once, with the registers of the first way that leads to it: the
//! fall-through before the jump. That is no proof of anything, but accessors are short, and what
//! is learned is cross-checked.

use std::collections::BTreeSet;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register, UsedMemory,
};

use crate::elf::{Library, Symbol, abi::ARGUMENTS};

/// Code longer than this is not read.
const MAX_CODE: u64 = 16 << 10;
/// Code that is read of a symbol without a size.
const UNSIZED_CODE: u64 = 256;
/// Loads in one chain. Fields are two or three away; only code that is no accessor goes on.
const MAX_CHAIN: usize = 8;
/// Instructions that are followed.
const MAX_STEPS: usize = 2_048;

/// Where a chain of loads starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Root {
    /// The integer argument of that number.
    Argument(usize),
    /// What the call of that number (in order of discovery) returned.
    Result(usize),
}

/// A place in memory: from the root, load at each offset but the last; the last is the place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) root: Root,
    pub(super) path: Vec<i64>,
}

impl Place {
    /// The path, where the place is reached from `argument`.
    pub(super) fn from(&self, argument: usize) -> Option<&[i64]> {
        (self.root == Root::Argument(argument)).then_some(&self.path)
    }
}

/// What is known of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Unknown,
    Constant(u64),
    /// The root, loaded along `path`, plus `offset`.
    Chain {
        root: Root,
        path: Vec<i64>,
        offset: i64,
    },
}

impl Value {
    fn root(root: Root) -> Self {
        Self::Chain {
            root,
            path: Vec::new(),
            offset: 0,
        }
    }

    /// The place that this value was loaded from.
    pub(super) fn loaded(&self) -> Option<Place> {
        match self {
            Self::Chain { root, path, offset } if *offset == 0 && !path.is_empty() => Some(Place {
                root: *root,
                path: path.clone(),
            }),
            _ => None,
        }
    }

    /// Whether it is that argument, untouched.
    pub(super) fn is_argument(&self, number: usize) -> bool {
        *self == Self::root(Root::Argument(number))
    }

    /// The place that this value points to, `displacement` further on.
    pub(super) fn place(&self, displacement: i64) -> Option<Place> {
        match self {
            Self::Chain { root, path, offset } if path.len() < MAX_CHAIN => {
                let mut path = path.clone();
                path.push(offset.wrapping_add(displacement));
                Some(Place { root: *root, path })
            }
            _ => None,
        }
    }

    fn plus(&self, delta: i64) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::Constant(value) => Self::Constant(value.wrapping_add_signed(delta)),
            Self::Chain { root, path, offset } => Self::Chain {
                root: *root,
                path: path.clone(),
                offset: offset.wrapping_add(delta),
            },
        }
    }
}

/// What happens to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    /// Compared with, or masked by, a constant.
    Test(Option<u64>),
    Write(Value),
}

/// Something that the function does.
#[allow(
    clippy::large_enum_variant,
    reason = "there are a few hundred of them, for a moment"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Access {
        place: Place,
        /// The element size where it is an element of an array whose index is not known.
        scale: Option<u32>,
        width: usize,
        kind: Kind,
    },
    /// A call, or a jump out of the function. No target where it is indirect.
    Call {
        target: Option<u64>,
        arguments: [Value; 6],
        result: usize,
    },
    Return(Value),
}

/// Registers that a call leaves undefined.
const CLOBBERED: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

#[derive(Clone)]
struct State([Value; 16]);

impl State {
    fn entry() -> Self {
        let mut state = Self([const { Value::Unknown }; 16]);
        for (number, register) in ARGUMENTS.into_iter().enumerate() {
            state.set(register, Value::root(Root::Argument(number)));
        }
        state
    }

    fn index(register: Register) -> Option<usize> {
        let full = register.full_register();
        full.is_gpr64().then(|| full.number())
    }

    fn get(&self, register: Register) -> Value {
        Self::index(register)
            .and_then(|index| self.0.get(index))
            .cloned()
            .unwrap_or(Value::Unknown)
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(slot) = Self::index(register).and_then(|index| self.0.get_mut(index)) {
            *slot = value;
        }
    }
}

/// Follows the function `symbol`; empty where its code cannot be read.
pub(super) fn trace(library: &Library, symbol: &Symbol) -> Vec<Event> {
    let size = if symbol.size == 0 {
        UNSIZED_CODE
    } else {
        symbol.size.min(MAX_CODE)
    };
    let Some(code) = usize::try_from(size)
        .ok()
        .and_then(|size| library.code(symbol.address, size))
    else {
        return Vec::new();
    };
    let mut tracer = Tracer {
        code: &code,
        start: symbol.address,
        events: Vec::new(),
        visited: BTreeSet::new(),
        waiting: vec![(symbol.address, State::entry())],
        calls: 0,
        info: InstructionInfoFactory::new(),
    };
    tracer.run();
    tracer.events
}

struct Tracer<'a> {
    code: &'a [u8],
    start: u64,
    events: Vec<Event>,
    visited: BTreeSet<u64>,
    waiting: Vec<(u64, State)>,
    calls: usize,
    info: InstructionInfoFactory,
}

impl Tracer<'_> {
    fn run(&mut self) {
        let mut steps = 0;
        while let Some((mut ip, mut state)) = self.waiting.pop() {
            while steps < MAX_STEPS && self.visited.insert(ip) {
                steps += 1;
                let Some(instruction) = self.decode(ip) else {
                    break;
                };
                match self.step(&instruction, &mut state) {
                    Some(next) => ip = next,
                    None => break,
                }
            }
        }
    }

    fn decode(&self, ip: u64) -> Option<Instruction> {
        let offset = usize::try_from(ip.checked_sub(self.start)?).ok()?;
        let code = self.code.get(offset..)?;
        if code.is_empty() {
            return None;
        }
        let instruction = Decoder::with_ip(64, code, ip, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    fn is_inside(&self, ip: u64) -> bool {
        ip.checked_sub(self.start)
            .is_some_and(|offset| offset < self.code.len() as u64)
    }

    /// Applies one instruction and says which one is next.
    fn step(&mut self, instruction: &Instruction, state: &mut State) -> Option<u64> {
        self.accesses(instruction, state);
        let near = matches!(instruction.op0_kind(), OpKind::NearBranch64);
        let target = near.then(|| instruction.near_branch_target());
        match instruction.flow_control() {
            FlowControl::Next => {
                self.assign(instruction, state);
                Some(instruction.next_ip())
            }
            FlowControl::ConditionalBranch => {
                if let Some(target) = target.filter(|target| self.is_inside(*target)) {
                    self.waiting.push((target, state.clone()));
                }
                Some(instruction.next_ip())
            }
            FlowControl::UnconditionalBranch => match target {
                Some(target) if self.is_inside(target) => Some(target),
                target => {
                    self.call(target, state);
                    None
                }
            },
            FlowControl::IndirectBranch => {
                self.call(None, state);
                None
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                self.call(target, state);
                Some(instruction.next_ip())
            }
            FlowControl::Return => {
                self.events.push(Event::Return(state.get(Register::RAX)));
                None
            }
            _ => None,
        }
    }

    fn call(&mut self, target: Option<u64>, state: &mut State) {
        let result = self.calls;
        self.calls += 1;
        self.events.push(Event::Call {
            target,
            arguments: ARGUMENTS.map(|register| state.get(register)),
            result,
        });
        for register in CLOBBERED {
            state.set(register, Value::Unknown);
        }
        state.set(Register::RAX, Value::root(Root::Result(result)));
    }

    /// Records what the instruction does to memory.
    fn accesses(&mut self, instruction: &Instruction, state: &State) {
        if instruction.mnemonic() == Mnemonic::Nop {
            return;
        }
        let used: Vec<UsedMemory> = self.info.info(instruction).used_memory().to_vec();
        for memory in used {
            let displacement = memory.displacement().cast_signed();
            let Some(place) = state.get(memory.base()).place(displacement) else {
                continue;
            };
            let indexed = memory.index() != Register::None;
            let kind = match memory.access() {
                OpAccess::Read | OpAccess::CondRead => match instruction.mnemonic() {
                    Mnemonic::Cmp | Mnemonic::Test => Kind::Test(immediate(instruction)),
                    _ => Kind::Read,
                },
                OpAccess::Write
                | OpAccess::CondWrite
                | OpAccess::ReadWrite
                | OpAccess::ReadCondWrite => Kind::Write(source(instruction, state)),
                _ => continue,
            };
            self.events.push(Event::Access {
                place,
                scale: indexed.then(|| memory.scale()),
                width: memory.memory_size().size(),
                kind,
            });
        }
    }

    /// Updates the registers that the instruction writes.
    fn assign(&mut self, instruction: &Instruction, state: &mut State) {
        let to_register = instruction.op0_kind() == OpKind::Register;
        let value = match instruction.mnemonic() {
            Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Movsxd if to_register => {
                Some(source(instruction, state))
            }
            Mnemonic::Lea => Some(address(instruction, state).unwrap_or(Value::Unknown)),
            Mnemonic::Xor
                if to_register
                    && instruction.op1_kind() == OpKind::Register
                    && instruction.op0_register() == instruction.op1_register() =>
            {
                Some(Value::Constant(0))
            }
            Mnemonic::Add | Mnemonic::Sub if to_register => Some(sum(instruction, state)),
            _ => None,
        };
        let written: Vec<Register> = self
            .info
            .info(instruction)
            .used_registers()
            .iter()
            .filter(|used| {
                matches!(
                    used.access(),
                    OpAccess::Write
                        | OpAccess::CondWrite
                        | OpAccess::ReadWrite
                        | OpAccess::ReadCondWrite
                )
            })
            .map(iced_x86::UsedRegister::register)
            .collect();
        for register in written {
            state.set(register, Value::Unknown);
        }
        if let Some(value) = value {
            state.set(instruction.op0_register(), value);
        }
    }
}

/// What the second operand holds.
fn source(instruction: &Instruction, state: &State) -> Value {
    match instruction.op1_kind() {
        OpKind::Register if instruction.op1_register().is_gpr() => {
            state.get(instruction.op1_register())
        }
        OpKind::Memory => match address(instruction, state).and_then(|value| value.place(0)) {
            Some(Place { root, path }) => Value::Chain {
                root,
                path,
                offset: 0,
            },
            None => Value::Unknown,
        },
        _ => immediate(instruction).map_or(Value::Unknown, Value::Constant),
    }
}

/// The address of the memory operand, where it has no index.
fn address(instruction: &Instruction, state: &State) -> Option<Value> {
    if instruction.memory_index() != Register::None {
        return None;
    }
    let displacement = instruction.memory_displacement64().cast_signed();
    match state.get(instruction.memory_base()) {
        value @ Value::Chain { .. } => Some(value.plus(displacement)),
        _ => None,
    }
}

fn sum(instruction: &Instruction, state: &State) -> Value {
    let left = state.get(instruction.op0_register());
    let right = source(instruction, state);
    let subtract = instruction.mnemonic() == Mnemonic::Sub;
    match (left, right) {
        (left, Value::Constant(delta)) if subtract => left.plus(delta.cast_signed().wrapping_neg()),
        (left, Value::Constant(delta)) => left.plus(delta.cast_signed()),
        (Value::Constant(delta), right) if !subtract => right.plus(delta.cast_signed()),
        _ => Value::Unknown,
    }
}

/// The immediate operand, narrowed to the operation's width.
fn immediate(instruction: &Instruction) -> Option<u64> {
    let number = (0..instruction.op_count()).find(|operand| {
        matches!(
            instruction.op_kind(*operand),
            OpKind::Immediate8
                | OpKind::Immediate16
                | OpKind::Immediate32
                | OpKind::Immediate64
                | OpKind::Immediate8to16
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate32to64
        )
    })?;
    let value = instruction.try_immediate(number).ok()?;
    let wide = instruction.code() == Code::INVALID || instruction.memory_size().size() != 4;
    Some(if wide { value } else { value & 0xffff_ffff })
}

#[cfg(test)]
mod tests;
