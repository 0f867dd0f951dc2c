//! What is known of a processor's registers and memory while code is followed.

use std::collections::BTreeMap;

use iced_x86::{Instruction, OpKind, Register};

use crate::elf::abi::ARGUMENTS;

/// Slots that are remembered of the stack, and of what else was written on one way.
const MAX_CELLS: usize = 4_096;

/// What is known of eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Unknown,
    /// A number, or an address in the library.
    Known(u64),
    /// A place in the table that the caller passes.
    Table(i64),
    /// A place on the stack, from where it was at the start.
    Stack(i64),
    /// What lies at this address of the library.
    At(u64),
}

impl Value {
    pub fn plus(self, delta: i64) -> Self {
        match self {
            Self::Known(value) => Self::Known(value.wrapping_add_signed(delta)),
            Self::Table(offset) => Self::Table(offset.wrapping_add(delta)),
            Self::Stack(offset) => Self::Stack(offset.wrapping_add(delta)),
            Self::Unknown | Self::At(_) => Self::Unknown,
        }
    }
}

/// A place that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Table(i64),
    Stack(i64),
    Image(u64),
}

impl Place {
    pub fn of(value: Value) -> Option<Self> {
        match value {
            Value::Known(address) => Some(Self::Image(address)),
            Value::Table(offset) => Some(Self::Table(offset)),
            Value::Stack(offset) => Some(Self::Stack(offset)),
            Value::Unknown | Value::At(_) => None,
        }
    }

    pub fn plus(self, delta: i64) -> Self {
        match self {
            Self::Image(address) => Self::Image(address.wrapping_add_signed(delta)),
            Self::Table(offset) => Self::Table(offset.wrapping_add(delta)),
            Self::Stack(offset) => Self::Stack(offset.wrapping_add(delta)),
        }
    }
}

/// A vector register, eight bytes each.
pub(super) type Lanes = [Value; 4];

#[derive(Clone, Debug)]
pub(super) struct State {
    general: [Value; 16],
    vector: [Lanes; 16],
    pub cells: BTreeMap<Place, Value>,
    /// Where the calls that it is in return to.
    pub returns: Vec<u64>,
    pub depth: u32,
}

pub(super) const ZERO: Value = Value::Known(0);

impl State {
    pub fn entry() -> Self {
        let mut state = Self {
            general: [Value::Unknown; 16],
            vector: [[Value::Unknown; 4]; 16],
            cells: BTreeMap::new(),
            returns: Vec::new(),
            depth: 0,
        };
        state.set(Register::RSP, Value::Stack(0));
        state.set(ARGUMENTS[1], Value::Table(0));
        state
    }

    pub fn get(&self, register: Register) -> Value {
        let full = register.full_register();
        let known = full.is_gpr64() && register == full;
        let value = known.then(|| self.general.get(full.number())).flatten();
        value.copied().unwrap_or(Value::Unknown)
    }

    pub fn set(&mut self, register: Register, value: Value) {
        let full = register.full_register();
        if full.is_gpr64()
            && let Some(slot) = self.general.get_mut(full.number())
        {
            *slot = value;
        }
    }

    pub fn lanes(&self, register: Register) -> Lanes {
        let lanes = register
            .is_vector_register()
            .then(|| self.vector.get(register.number()));
        lanes.flatten().copied().unwrap_or([Value::Unknown; 4])
    }

    /// What an instruction of this width leaves in the rest of the register depends on its encoding.
    pub fn set_lanes(&mut self, register: Register, [a, b, c, d]: Lanes) {
        if register.is_vector_register()
            && let Some(slot) = self.vector.get_mut(register.number())
        {
            *slot = if register.is_xmm() {
                [a, b, Value::Unknown, Value::Unknown]
            } else {
                [a, b, c, d]
            };
        }
    }

    /// What lies there, eight bytes wide.
    pub fn load(&self, place: Option<Place>) -> Value {
        let Some(place) = place else {
            return Value::Unknown;
        };
        match (self.cells.get(&place), place) {
            (Some(value), _) => *value,
            (None, Place::Image(address)) => Value::At(address),
            (None, _) => Value::Unknown,
        }
    }

    pub fn store(&mut self, place: Place, value: Value) {
        // A slot that is overlapped is not what it was.
        for delta in -7..8 {
            if delta != 0 {
                self.cells.remove(&place.plus(delta));
            }
        }
        if self.cells.len() < MAX_CELLS || self.cells.contains_key(&place) {
            self.cells.insert(place, value);
        }
    }

    /// What a call leaves undefined.
    pub fn clobber(&mut self) {
        for register in ARGUMENTS
            .into_iter()
            .chain([Register::RAX, Register::R10, Register::R11])
        {
            self.set(register, Value::Unknown);
        }
        self.vector = [[Value::Unknown; 4]; 16];
    }

    /// What a general operand of eight bytes holds.
    pub fn source(&self, instruction: &Instruction, operand: u32) -> Value {
        match instruction.op_kind(operand) {
            OpKind::Register => self.get(instruction.op_register(operand)),
            OpKind::Memory if instruction.memory_size().size() == 8 => {
                self.load(self.place(instruction))
            }
            OpKind::Memory => Value::Unknown,
            _ => instruction
                .try_immediate(operand)
                .map_or(Value::Unknown, Value::Known),
        }
    }

    /// What a vector operand holds.
    pub fn lanes_of(&self, instruction: &Instruction, operand: u32) -> Lanes {
        if instruction.op_kind(operand) == OpKind::Register {
            let lanes = self.lanes(instruction.op_register(operand));
            return lanes;
        }
        let mut lanes = [ZERO; 4];
        let place = self.place(instruction);
        let count = instruction.memory_size().size() / 8;
        for (lane, delta) in lanes.iter_mut().take(count).zip((0..).step_by(8)) {
            *lane = self.load(place.map(|place| place.plus(delta)));
        }
        lanes
    }

    /// Where the memory operand lies.
    pub fn place(&self, instruction: &Instruction) -> Option<Place> {
        if instruction.is_ip_rel_memory_operand() {
            return Some(Place::Image(instruction.ip_rel_memory_address()));
        }
        if instruction.memory_index() != Register::None
            || instruction.segment_prefix() != Register::None
        {
            return None;
        }
        let displacement = instruction.memory_displacement64().cast_signed();
        Place::of(self.get(instruction.memory_base()).plus(displacement))
    }
}
