//! Which addresses a function stores where.
//!
//! A driver hands its functions out by writing their addresses into a table of its caller's. Compilers do that in
//! many ways: address by address or two at a time through a vector register, from the code's own constants, from the
//! library's table of addresses, or from an object that was filled as the library was loaded; with copies on the
//! stack in between, and in several branches, as the version asked for wants it. So the code is followed: every
//! register and every slot on the stack is something known (an address, a place in the caller's table, what lies at
//! an address) or not. What comes out is all that is ever stored at each place.
//!
//! Each way through the code is followed, but an instruction only so often. What is not modelled makes what it
//! writes unknown, never wrong.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::state::{Place, State, Value, ZERO};
use crate::elf::{Library, abi::ARGUMENTS};

/// Code that is read at a time.
const PAGE: u64 = 4_096;
/// The longest instruction.
const LONGEST: usize = 15;
/// Calls within one another.
const MAX_CALLS: usize = 8;
/// Ways that wait to be followed.
const MAX_WAITING: usize = 4_096;
/// Slots that are remembered for a way that waits, for which a step less is gone.
const SLOTS_OF_A_STEP: usize = 4;

/// How far it is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub steps: usize,
    /// How often one instruction is looked at, each time from another way.
    pub visits: u32,
    /// How deep calls are followed; where 0, none is.
    pub depth: u32,
    /// Every call, not only those that are handed the table.
    pub all_calls: bool,
    /// Where the function ends: what seems to go on there comes from a call that does not return.
    pub end: Option<u64>,
}

/// What code does, on any way through it.
#[derive(Debug, Default)]
pub(super) struct Stores {
    /// All that is stored into the caller's table, by offset.
    pub table: BTreeMap<i64, BTreeSet<Value>>,
    /// All that is stored into the library's own memory, at addresses that are wanted.
    pub image: BTreeMap<u64, BTreeSet<Value>>,
    /// Where it calls and jumps to.
    pub branches: BTreeSet<u64>,
    /// Not all ways were followed to their end.
    pub cut_short: bool,
}

/// Follows the code at `entry`, whose second argument is the table. `wanted`: addresses in the library.
pub(super) fn follow(
    library: &Library,
    entry: &[u64],
    wanted: &BTreeSet<u64>,
    limits: Limits,
) -> Stores {
    let mut follower = Follower {
        library,
        wanted,
        limits,
        pages: BTreeMap::new(),
        visits: BTreeMap::new(),
        steps: 0,
        waiting: Vec::new(),
        found: Stores::default(),
        info: InstructionInfoFactory::new(),
    };
    let mut start = State::entry();
    if limits.all_calls {
        // Nobody passes a table to what runs by itself.
        start.set(ARGUMENTS[1], Value::Unknown);
    }
    for address in entry.iter().rev() {
        follower.waiting.push((*address, start.clone()));
    }
    follower.run();
    follower.found
}

struct Follower<'a> {
    library: &'a Library,
    wanted: &'a BTreeSet<u64>,
    limits: Limits,
    pages: BTreeMap<u64, Vec<u8>>,
    visits: BTreeMap<u64, u32>,
    steps: usize,
    waiting: Vec<(u64, State)>,
    found: Stores,
    info: InstructionInfoFactory,
}

impl Follower<'_> {
    fn run(&mut self) {
        while let Some((mut ip, mut state)) = self.waiting.pop() {
            loop {
                if self.steps >= self.limits.steps {
                    self.found.cut_short = true;
                    return;
                }
                self.steps += 1;
                let visits = self.visits.entry(ip).or_default();
                if *visits >= self.limits.visits {
                    break;
                }
                *visits += 1;
                let Some(instruction) = self.decode(ip) else {
                    break;
                };
                let ends = self.limits.end == Some(instruction.next_ip());
                match self.step(&instruction, &mut state) {
                    Some(next) if next == instruction.next_ip() && ends => break,
                    Some(next) => ip = next,
                    None => break,
                }
            }
        }
    }

    fn decode(&mut self, ip: u64) -> Option<Instruction> {
        let page = ip / PAGE * PAGE;
        let library = self.library;
        let code = self.pages.entry(page).or_insert_with(|| {
            // A segment may begin within the page.
            let length = PAGE as usize + LONGEST;
            let first = (page..page.saturating_add(PAGE)).find(|at| library.is_code(*at));
            let mut bytes = Vec::new();
            if let Some(first) = first
                && let Some(code) = library.code(first, length)
            {
                bytes.resize((first - page) as usize, 0);
                bytes.extend(code);
            }
            bytes
        });
        if !library.is_code(ip) {
            return None;
        }
        let code = code.get(usize::try_from(ip - page).ok()?..)?;
        let instruction = Decoder::with_ip(64, code, ip, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    fn later(&mut self, ip: u64, state: State) {
        if self.waiting.len() < MAX_WAITING {
            // Else code that fills the stack and then branches on and on takes minutes, and all memory.
            self.steps += state.cells.len() / SLOTS_OF_A_STEP;
            self.waiting.push((ip, state));
        } else {
            self.found.cut_short = true;
        }
    }

    /// Applies one instruction and says which one is next.
    fn step(&mut self, instruction: &Instruction, state: &mut State) -> Option<u64> {
        let target = matches!(instruction.op0_kind(), OpKind::NearBranch64)
            .then(|| instruction.near_branch_target());
        match instruction.flow_control() {
            FlowControl::Next => {
                self.apply(instruction, state);
                Some(instruction.next_ip())
            }
            FlowControl::ConditionalBranch => {
                if let Some(target) = target {
                    self.later(target, state.clone());
                }
                Some(instruction.next_ip())
            }
            FlowControl::UnconditionalBranch => {
                self.found.branches.extend(target);
                target
            }
            FlowControl::Call => {
                self.found.branches.extend(target);
                Some(self.call(instruction, target, state))
            }
            FlowControl::IndirectCall => {
                state.clobber();
                Some(instruction.next_ip())
            }
            FlowControl::Return => {
                let back = state.returns.pop();
                let top = state.get(Register::RSP);
                state.set(Register::RSP, top.plus(8));
                back
            }
            // Some other library's function, which returns in the end; or one of many ways, by a table.
            FlowControl::IndirectBranch => {
                self.found.cut_short |= !instruction.is_ip_rel_memory_operand();
                let back = state.returns.pop();
                let top = state.get(Register::RSP);
                state.clobber();
                state.set(Register::RSP, top.plus(8));
                back
            }
            _ => None,
        }
    }

    /// What is handed the table is gone through as it is called. Other calls are followed by themselves, where they are
    /// at all: the caller goes on without what such a one may have changed.
    fn call(&mut self, instruction: &Instruction, target: Option<u64>, state: &mut State) -> u64 {
        let next = instruction.next_ip();
        let deeper = state.depth < self.limits.depth;
        let Some(target) = target.filter(|target| deeper && self.library.is_code(*target)) else {
            state.clobber();
            return next;
        };
        let handed_on = ARGUMENTS
            .into_iter()
            .any(|register| matches!(state.get(register), Value::Table(_)));
        if handed_on && state.returns.len() < MAX_CALLS {
            let top = state.get(Register::RSP).plus(-8);
            state.set(Register::RSP, top);
            state.returns.push(next);
            return target;
        }
        if self.limits.all_calls {
            let mut inner = State::entry();
            inner.set(ARGUMENTS[1], Value::Unknown);
            for register in ARGUMENTS {
                if let value @ Value::Known(_) = state.get(register) {
                    inner.set(register, value);
                }
            }
            inner.depth = state.depth + 1;
            self.later(target, inner);
        }
        state.clobber();
        next
    }

    fn apply(&mut self, instruction: &Instruction, state: &mut State) {
        if self.modelled(instruction, state) {
            return;
        }
        let info = self.info.info(instruction);
        let written = |access| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        };
        let registers: Vec<Register> = info
            .used_registers()
            .iter()
            .filter(|used| written(used.access()))
            .map(iced_x86::UsedRegister::register)
            .collect();
        let memory = info.used_memory().iter().any(|used| written(used.access()));
        if memory && instruction.is_string_instruction() {
            // It writes any number of them.
            state.cells.clear();
        } else if memory {
            let width = instruction.memory_size().size().clamp(1, 64);
            if let Some(place) = state.place(instruction) {
                for delta in (0..width).step_by(8) {
                    self.store(state, place.plus(delta as i64), Value::Unknown);
                }
            }
        }
        for register in registers {
            state.set(register, Value::Unknown);
            state.set_lanes(register, [Value::Unknown; 4]);
        }
    }

    fn store(&mut self, state: &mut State, place: Place, value: Value) {
        match place {
            Place::Table(offset) => {
                self.found.table.entry(offset).or_default().insert(value);
            }
            Place::Image(address) if self.wanted.contains(&address) => {
                self.found.image.entry(address).or_default().insert(value);
            }
            _ => {}
        }
        state.store(place, value);
    }

    /// Instructions whose outcome is known; false for all others.
    fn modelled(&mut self, instruction: &Instruction, state: &mut State) -> bool {
        let to_register = instruction.op0_kind() == OpKind::Register;
        let to_memory = instruction.op0_kind() == OpKind::Memory;
        let to = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Nop | Mnemonic::Endbr64 | Mnemonic::Cmp | Mnemonic::Test => {}
            Mnemonic::Push => {
                let value = state.source(instruction, 0);
                let top = state.get(Register::RSP).plus(-8);
                state.set(Register::RSP, top);
                if let Some(place) = Place::of(top) {
                    self.store(state, place, value);
                }
            }
            Mnemonic::Pop if to_register => {
                let top = state.get(Register::RSP);
                let value = state.load(Place::of(top));
                state.set(Register::RSP, top.plus(8));
                state.set(to, value);
            }
            Mnemonic::Lea if to.is_gpr64() => {
                let value = state
                    .place(instruction)
                    .map_or(Value::Unknown, |place| match place {
                        Place::Table(offset) => Value::Table(offset),
                        Place::Stack(offset) => Value::Stack(offset),
                        Place::Image(address) => Value::Known(address),
                    });
                state.set(to, value);
            }
            Mnemonic::Mov if to.is_gpr64() => {
                let value = state.source(instruction, 1);
                state.set(to, value);
            }
            // The upper half becomes zero.
            Mnemonic::Mov if to.is_gpr32() && instruction.op1_kind() == OpKind::Immediate32 => {
                state.set(to, Value::Known(instruction.immediate(1)));
            }
            Mnemonic::Mov if to_memory && instruction.memory_size().size() == 8 => {
                let value = state.source(instruction, 1);
                if let Some(place) = state.place(instruction) {
                    self.store(state, place, value);
                }
            }
            Mnemonic::Xor if to.is_gpr() && same(instruction) => state.set(to, Value::Known(0)),
            Mnemonic::Add | Mnemonic::Sub if to.is_gpr64() && is_immediate(instruction, 1) => {
                let delta = instruction.immediate(1).cast_signed();
                let subtracts = instruction.mnemonic() == Mnemonic::Sub;
                let delta = if subtracts {
                    delta.wrapping_neg()
                } else {
                    delta
                };
                state.set(to, state.get(to).plus(delta));
            }
            _ => return self.vector(instruction, state),
        }
        true
    }

    /// Moves of vector registers.
    fn vector(&mut self, instruction: &Instruction, state: &mut State) -> bool {
        let to_memory = instruction.op0_kind() == OpKind::Memory;
        let to = instruction.op0_register();
        // Forms of three operands take what they keep from the second, those of two from the first.
        let last = instruction.op_count().saturating_sub(1);
        let three = instruction.op_count() == 3 && instruction.op_kind(2) != OpKind::Immediate8;
        let kept = if three {
            instruction.op1_register()
        } else {
            to
        };
        let [low, high, ..] = state.lanes(kept);
        match instruction.mnemonic() {
            Mnemonic::Movups
            | Mnemonic::Movaps
            | Mnemonic::Movdqu
            | Mnemonic::Movdqa
            | Mnemonic::Movupd
            | Mnemonic::Movapd
            | Mnemonic::Movntdq
            | Mnemonic::Movntps
            | Mnemonic::Vmovups
            | Mnemonic::Vmovaps
            | Mnemonic::Vmovdqu
            | Mnemonic::Vmovdqa
            | Mnemonic::Vmovupd
            | Mnemonic::Vmovapd
                if instruction.op_count() == 2 =>
            {
                if to_memory {
                    let lanes = state.lanes(instruction.op1_register());
                    self.store_lanes(instruction, state, &lanes);
                } else {
                    let lanes = state.lanes_of(instruction, 1);
                    state.set_lanes(to, lanes);
                }
            }
            Mnemonic::Movq | Mnemonic::Vmovq => {
                let value = match instruction.op_kind(last) {
                    OpKind::Register if instruction.op_register(last).is_vector_register() => {
                        state.lanes(instruction.op_register(last))[0]
                    }
                    _ => state.source(instruction, last),
                };
                if to_memory {
                    self.store_lanes(instruction, state, &[value]);
                } else if to.is_vector_register() {
                    state.set_lanes(to, [value, ZERO, ZERO, ZERO]);
                } else {
                    state.set(to, value);
                }
            }
            Mnemonic::Movhps | Mnemonic::Movhpd | Mnemonic::Vmovhps | Mnemonic::Vmovhpd => {
                if to_memory {
                    let value = state.lanes(instruction.op1_register())[1];
                    self.store_lanes(instruction, state, &[value]);
                } else {
                    let value = state.source(instruction, last);
                    state.set_lanes(to, [low, value, ZERO, ZERO]);
                }
            }
            Mnemonic::Movlps | Mnemonic::Movlpd | Mnemonic::Vmovlps | Mnemonic::Vmovlpd => {
                if to_memory {
                    let value = state.lanes(instruction.op1_register())[0];
                    self.store_lanes(instruction, state, &[value]);
                } else {
                    let value = state.source(instruction, last);
                    state.set_lanes(to, [value, high, ZERO, ZERO]);
                }
            }
            Mnemonic::Punpcklqdq
            | Mnemonic::Unpcklpd
            | Mnemonic::Movlhps
            | Mnemonic::Vpunpcklqdq
            | Mnemonic::Vunpcklpd
            | Mnemonic::Vmovlhps
                if to.is_xmm() =>
            {
                let second = state.lanes_of(instruction, last)[0];
                state.set_lanes(to, [low, second, ZERO, ZERO]);
            }
            Mnemonic::Pinsrq | Mnemonic::Vpinsrq => {
                let from = instruction.op_count().saturating_sub(2);
                let kept = if instruction.op_count() == 4 {
                    state.lanes(instruction.op1_register())
                } else {
                    state.lanes(to)
                };
                let value = state.source(instruction, from);
                let both = match instruction.immediate8() & 1 {
                    0 => [value, kept[1]],
                    _ => [kept[0], value],
                };
                state.set_lanes(to, [both[0], both[1], ZERO, ZERO]);
            }
            Mnemonic::Vinserti128 | Mnemonic::Vinsertf128 if to.is_ymm() => {
                let [a, b, c, d] = state.lanes(instruction.op1_register());
                let [low, high, ..] = state.lanes_of(instruction, 2);
                let all = match instruction.immediate8() & 1 {
                    0 => [low, high, c, d],
                    _ => [a, b, low, high],
                };
                state.set_lanes(to, all);
            }
            Mnemonic::Pxor | Mnemonic::Xorps | Mnemonic::Vpxor | Mnemonic::Vxorps
                if instruction.op_kind(last) == OpKind::Register
                    && instruction.op_register(last) == kept =>
            {
                state.set_lanes(to, [ZERO; 4]);
            }
            _ => return false,
        }
        true
    }

    fn store_lanes(&mut self, instruction: &Instruction, state: &mut State, lanes: &[Value]) {
        let Some(place) = state.place(instruction) else {
            return;
        };
        let count = instruction.memory_size().size() / 8;
        for (value, delta) in lanes.iter().take(count).zip((0..).step_by(8)) {
            self.store(state, place.plus(delta), *value);
        }
    }
}

fn same(instruction: &Instruction) -> bool {
    instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == instruction.op1_register()
}

fn is_immediate(instruction: &Instruction, operand: u32) -> bool {
    instruction.try_immediate(operand).is_ok()
}
