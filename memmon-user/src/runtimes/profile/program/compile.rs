//! A graph of values → the program of a [`ProbeSpec`]: in which order, in which registers.

use std::collections::{BTreeMap, HashMap, HashSet};

use memmon_ebpf::{
    WIRE_VERSION,
    spec::{Action, Instr, MAX_INSTRS, ProbeSpec, REGISTERS, flag, op, reg, width},
};

use super::{
    blocks::{self, Block},
    lower::{Graph, Id, Lowering, Value},
    registers::Registers,
};
use crate::runtimes::profile::{
    document::schema::{At, Formula, Library, Probe, Profile, SymbolPattern},
    error::{Errors, Problem, ProfileError},
    expression::{Expression, Node, OUTPUTS},
    resolvers,
};

/// The constant that tells apart where a probe stands several times.
pub(in crate::runtimes::profile) const INDEX: &str = "index";

/// A probe, ready to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledProbe {
    pub name: String,
    pub at: At,
    /// Every address that any of these leads to gets the probe, once.
    pub symbols: Vec<SymbolPattern>,
    /// Where none of the symbols is there: whether the library is still understood without it.
    pub optional: bool,
    pub spec: ProbeSpec,
}

impl Profile {
    /// Compiles the probes of one library (an index into [`Profile::libraries`]). `constants` are
    /// the resolver's for this very file; `space` is the number of the runtime.
    pub fn compile(
        &self,
        library: usize,
        constants: &BTreeMap<String, i64>,
        space: u32,
    ) -> Result<Vec<CompiledProbe>, Vec<ProfileError>> {
        let Some(library) = self.libraries.get(library) else {
            let text = format!("has no library {library}");
            let error = ProfileError::of_file(self.file(), Problem::Meaning(text));
            return Err(vec![error]);
        };
        let constants = with_own(library, constants);
        let mut errors = Errors::new(self.source.clone());
        let mut compiled = Vec::with_capacity(library.probes.len());
        for probe in &library.probes {
            match self.compile_probe(probe, &constants, space) {
                Ok(spec) => compiled.push(CompiledProbe {
                    name: probe.name.clone(),
                    at: probe.at,
                    symbols: places(probe, &constants),
                    optional: probe.optional,
                    spec,
                }),
                Err(found) => errors.append(found),
            }
        }
        if errors.is_empty() {
            Ok(compiled)
        } else {
            Err(errors.into_sorted())
        }
    }

    pub(in crate::runtimes::profile) fn compile_probe(
        &self,
        probe: &Probe,
        constants: &BTreeMap<String, i64>,
        space: u32,
    ) -> Result<ProbeSpec, Vec<ProfileError>> {
        let outputs = self.outputs(probe);
        let mut errors = Vec::new();
        let placeless = self.where_nowhere(probe, constants);
        let constants = placeless.as_ref().unwrap_or(constants);
        let with_index = probe.index.map(|index| {
            let mut constants = constants.clone();
            constants.insert(INDEX.to_owned(), index);
            constants
        });
        let constants = with_index.as_ref().unwrap_or(constants);
        let mut lowering = Lowering::new(&self.source, probe, constants);
        let mut keep = |result: Result<Id, Box<ProfileError>>| match result {
            Ok(id) => Some(id),
            Err(error) => {
                errors.push(*error);
                None
            }
        };
        let require = probe
            .require
            .as_ref()
            .and_then(|formula| keep(lowering.condition("require", formula)));
        let succeed = probe
            .succeed
            .as_ref()
            .and_then(|formula| keep(lowering.condition("succeed", formula)));
        let error = probe
            .error
            .as_ref()
            .and_then(|formula| keep(lowering.lenient_field("error", formula)));
        let mut values: Vec<(u8, Id)> = Vec::new();
        let [_, _, _, requested, ..] = &outputs;
        let requested = requested.as_ref();
        for ((name, register), formula) in OUTPUTS.into_iter().zip(outputs.iter()) {
            let Some(formula) = formula else {
                continue;
            };
            let id = if register == reg::CHARGED && Some(formula) == requested {
                // By default; its errors are those of `requested`.
                values.last().map(|(_, requested)| *requested)
            } else {
                keep(lowering.field(name, formula))
            };
            values.extend(id.map(|id| (register, id)));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if !self.places_devices() {
            number_devices(&mut lowering.graph, probe.action, &mut values);
        }
        let conditions = Conditions {
            require,
            succeed,
            error,
        };
        let program = Program::new(&lowering.graph, probe.action, conditions, values);
        // Reading together takes more registers at one time, and an instruction more: where there are not
        // that many, each field is read by itself.
        let code = program
            .with_blocks()
            .code()
            .and_then(fixed)
            .or_else(|_| program.code().and_then(fixed));
        match code {
            Ok((code, len)) => Ok(ProbeSpec {
                version: WIRE_VERSION,
                action: probe.action as u8,
                outputs: program.mask,
                len: u16::try_from(len).unwrap_or(u16::MAX),
                flags: self.flags(probe),
                space,
                label: 0,
                covered_by: 0,
                code,
            }),
            Err(problem) => {
                let path = [format!("probe \"{}\"", probe.name)];
                Err(vec![ProfileError::new(
                    &self.source,
                    &probe.span,
                    &path,
                    problem,
                )])
            }
        }
    }

    fn flags(&self, probe: &Probe) -> u16 {
        let mut flags = 0;
        let mut set = |on: bool, flag: u16| flags |= if on { flag } else { 0 };
        set(probe.starts_process, flag::STARTS_PROCESS);
        set(probe.error.is_some(), flag::HAS_ERROR);
        set(probe.known_only, flag::KNOWN_ONLY);
        set(self.passes, flag::PASSES);
        let ends = |other: &Probe| {
            other.action == Action::Freed
                && other
                    .symbols
                    .iter()
                    .any(|symbol| probe.symbols.contains(symbol))
        };
        let mut others = self.libraries.iter().flat_map(|library| &library.probes);
        set(
            matches!(probe.action, Action::Free | Action::Release) && others.any(ends),
            flag::KEEPS_FREED,
        );
        flags
    }

    /// The constants of a probe that has no place in this library, whose resolver does not know what it would need
    /// there either: any will do.
    fn where_nowhere(
        &self,
        probe: &Probe,
        constants: &BTreeMap<String, i64>,
    ) -> Option<BTreeMap<String, i64>> {
        if !probe.optional || !places(probe, constants).is_empty() {
            return None;
        }
        let resolver = self.resolver.as_deref().and_then(resolvers::find)?;
        let mut all: BTreeMap<String, i64> = resolver
            .constants
            .iter()
            .map(|name| ((*name).to_owned(), 0))
            .collect();
        all.extend(constants.clone());
        Some(all)
    }

    /// Whether its resolver finds out what an output `device` means; else that is the device's number.
    pub fn places_devices(&self) -> bool {
        let resolver = self.resolver.as_deref().and_then(resolvers::find);
        resolver.is_some_and(|resolver| resolver.places_devices)
    }

    /// The probe's outputs, with `charged` where the profile leaves it to be what was requested
    /// (or nothing, in a pool whose bytes overlap).
    fn outputs(&self, probe: &Probe) -> [Option<Formula>; 8] {
        let mut outputs = probe.outputs.clone();
        let [_, _, pool, requested, charged, ..] = &mut outputs;
        if charged.is_some() {
            return outputs;
        }
        let defaults = match probe.action {
            Action::Begin | Action::Alloc | Action::Register => true,
            // Where nothing said what is charged, what `begin` took for it was only the default.
            Action::Commit => !self
                .libraries
                .iter()
                .flat_map(|library| &library.probes)
                .any(|other| {
                    other.action == Action::Begin
                        && other.outputs[usize::from(reg::CHARGED)].is_some()
                }),
            _ => false,
        };
        if defaults {
            *charged = requested.clone();
            if let Some(Node::Number(number)) = pool.as_ref().map(|pool| &pool.expression.node)
                && u32::try_from(*number).is_ok_and(|number| !self.pool_is_charged(number))
                && let Some(formula) = charged
            {
                formula.expression = Expression {
                    node: Node::Number(0),
                    span: 0..0,
                };
            }
        }
        outputs
    }
}

/// The library's own constants, then the resolver's.
pub fn with_own(library: &Library, resolver: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let mut constants = resolver.clone();
    constants.extend(library.constants.clone());
    constants
}

fn fixed(code: Vec<Instr>) -> Result<([Instr; MAX_INSTRS], usize), Problem> {
    let mut fixed = [Instr::default(); MAX_INSTRS];
    let (needed, limit) = (code.len(), MAX_INSTRS);
    let Some(room) = fixed.get_mut(..needed) else {
        return Err(Problem::TooLong { needed, limit });
    };
    room.copy_from_slice(&code);
    Ok((fixed, needed))
}

/// Devices are numbered from 1 in the ledger, where 0 is none that is known. Memory of which is not said whose it is
/// belongs to its device.
fn number_devices(graph: &mut Graph, action: Action, values: &mut Vec<(u8, Id)>) {
    if action == Action::Carry {
        return;
    }
    let Some((_, device)) = values
        .iter_mut()
        .find(|(register, _)| *register == reg::DEVICE)
    else {
        return;
    };
    *device = graph.successor(*device);
    let device = *device;
    let owned = values.iter().any(|(register, _)| *register == reg::OWNER);
    if !owned && matches!(action, Action::Begin | Action::Alloc | Action::Commit) {
        values.push((reg::OWNER, device));
    }
}

/// Where it is placed, as far as that is known of this library.
fn places(probe: &Probe, constants: &BTreeMap<String, i64>) -> Vec<SymbolPattern> {
    let place = |symbol: &SymbolPattern| match symbol {
        SymbolPattern::Constant(name) => constants
            .get(name)
            .map(|address| SymbolPattern::Address(address.cast_unsigned())),
        other => Some(other.clone()),
    };
    probe.symbols.iter().filter_map(place).collect()
}

/// What ends a program early.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    require: Option<Id>,
    succeed: Option<Id>,
    /// The error code, for where `succeed` says no.
    error: Option<Id>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Compute(Id),
    /// Several fields of one object.
    Read(Block),
    Require(Id),
    Succeed(Id),
    Error(Id),
    /// An output that another output's register already holds.
    Copy(u8, Id),
}

/// The steps of one probe, in order, before registers are given out.
#[derive(Clone, Debug)]
struct Program<'a> {
    graph: &'a Graph,
    steps: Vec<Step>,
    /// The output register in which a value is computed.
    homes: HashMap<Id, u8>,
    mask: u8,
}

impl<'a> Program<'a> {
    fn new(
        graph: &'a Graph,
        action: Action,
        conditions: Conditions,
        outputs: Vec<(u8, Id)>,
    ) -> Self {
        let Conditions {
            require,
            succeed,
            error,
        } = conditions;
        let mut program = Self {
            graph,
            steps: Vec::new(),
            homes: HashMap::new(),
            mask: 0,
        };
        for (register, id) in &outputs {
            program.mask |= 1 << register;
            program.homes.entry(*id).or_insert(*register);
        }
        let mut order = Order::default();
        let is_true = |id: &Id| !matches!(graph.as_constant(*id), None | Some(0));
        if let Some(id) = require.filter(|id| !is_true(id)) {
            program.schedule(id, &mut order);
            program.steps.push(Step::Require(id));
        }
        let (before, after) = match succeed.filter(|id| !is_true(id)) {
            // A failed allocation is booked where it was tried, as far as that can be told without
            // reading what a failed call may have left unset.
            Some(_) if matches!(action, Action::Alloc | Action::Commit) => outputs
                .into_iter()
                .partition(|(register, id)| describes_attempt(*register) && !graph.can_fail(*id)),
            _ => (Vec::new(), outputs),
        };
        program.outputs(&before, &mut order);
        if let Some(id) = error {
            program.schedule(id, &mut order);
            program.steps.push(Step::Error(id));
        }
        if let Some(id) = succeed.filter(|id| !is_true(id)) {
            program.schedule(id, &mut order);
            program.steps.push(Step::Succeed(id));
        }
        program.outputs(&after, &mut order);
        program
    }

    fn outputs(&mut self, outputs: &[(u8, Id)], order: &mut Order) {
        for (register, id) in outputs {
            self.schedule(*id, order);
            if self.homes.get(id) != Some(register) {
                self.steps.push(Step::Copy(*register, *id));
            }
        }
    }

    /// Puts the value and what it needs into the order, the operand that needs most registers first.
    fn schedule(&mut self, id: Id, order: &mut Order) {
        if !order.done.insert(id) {
            return;
        }
        let mut operands: Vec<Id> = self.graph.get(id).operands().collect();
        operands.sort_by_key(|operand| std::cmp::Reverse(self.registers(*operand, order)));
        for operand in operands {
            self.schedule(operand, order);
        }
        self.steps.push(Step::Compute(id));
    }

    /// How many registers computing the value takes, were nothing shared.
    fn registers(&self, id: Id, order: &mut Order) -> usize {
        if let Some(known) = order.registers.get(&id) {
            return *known;
        }
        let mut operands: Vec<usize> = self
            .graph
            .get(id)
            .operands()
            .map(|operand| self.registers(operand, order))
            .collect();
        operands.sort_unstable_by(|a, b| b.cmp(a));
        let needed = operands
            .iter()
            .enumerate()
            .map(|(held, needed)| held + needed)
            .max()
            .unwrap_or(1);
        order.registers.insert(id, needed);
        needed
    }

    /// The same, with fields of one object read together.
    fn with_blocks(&self) -> Self {
        Self {
            steps: blocks::gather(self.graph, &self.steps),
            ..self.clone()
        }
    }

    /// From which step on each register belongs to an output.
    fn output_from(&self) -> [Option<usize>; REGISTERS] {
        let mut output_from = [None; REGISTERS];
        // What a failed call leaves in an output's register is taken for that output.
        let whole = self
            .steps
            .iter()
            .any(|step| matches!(step, Step::Succeed(_)));
        let home = |id: &Id| self.homes.get(id).copied();
        for (at, step) in self.steps.iter().enumerate() {
            let set: Vec<u8> = match step {
                Step::Compute(id) => home(id).into_iter().collect(),
                Step::Read(block) => block.fields.iter().filter_map(|f| home(&f.id)).collect(),
                Step::Copy(to, _) => vec![*to],
                Step::Error(_) => vec![reg::ERROR],
                _ => Vec::new(),
            };
            for register in set {
                if let Some(from) = output_from.get_mut(usize::from(register)) {
                    *from = Some(if whole { 0 } else { at });
                }
            }
        }
        output_from
    }

    fn operands(&self, step: &Step) -> Vec<Id> {
        match step {
            Step::Compute(id) => self.graph.get(*id).operands().collect(),
            Step::Read(block) => vec![block.base],
            Step::Require(id) | Step::Succeed(id) | Step::Error(id) | Step::Copy(_, id) => {
                vec![*id]
            }
        }
    }

    fn code(&self) -> Result<Vec<Instr>, Problem> {
        let mut last_use: HashMap<Id, usize> = HashMap::new();
        for (at, step) in self.steps.iter().enumerate() {
            for operand in self.operands(step) {
                last_use.insert(operand, at);
            }
        }
        let mut registers = Registers::new(self.output_from());
        let mut code = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let until = |id: &Id| last_use.get(id).copied().unwrap_or(at);
            match step {
                Step::Compute(id) => {
                    self.compute(*id, at, until(id), &mut registers, &mut code)?;
                }
                Step::Read(block) => {
                    let base = registers.of(block.base);
                    code.push(instr(op::BLOCK, 0, base, block.bytes, block.offset));
                    registers.release(at);
                    for field in &block.fields {
                        let home = self.homes.get(&field.id).copied();
                        let dst = registers.take(field.id, home, until(&field.id))?;
                        let (word, shift) = field.place();
                        code.push(instr(op::FIELD, dst, word, field.width, shift));
                    }
                }
                Step::Require(id) => code.push(instr(op::REQUIRE, 0, registers.of(*id), 0, 0)),
                Step::Succeed(id) => code.push(instr(op::SUCCEED, 0, registers.of(*id), 0, 0)),
                Step::Error(id) => code.push(copy(reg::ERROR, registers.of(*id))),
                Step::Copy(to, id) => code.push(copy(*to, registers.of(*id))),
            }
            registers.release(at);
        }
        Ok(code)
    }

    fn compute(
        &self,
        id: Id,
        at: usize,
        until: usize,
        registers: &mut Registers,
        code: &mut Vec<Instr>,
    ) -> Result<(), Problem> {
        let value = self.graph.get(id);
        if let Value::Select(condition, yes, no) = value {
            let (condition_in, yes_in, no_in) =
                (registers.of(condition), registers.of(yes), registers.of(no));
            let home = self.homes.get(&id).copied();
            // The else-value's own register will do where nobody else wants it any more.
            if no != condition
                && no != yes
                && home.is_none()
                && registers.can_pass_on(no, at, until)
            {
                registers.rename(no, id, until);
                code.push(instr(op::SELECT, no_in, condition_in, yes_in, 0));
            } else {
                let dst = registers.take(id, home, until)?;
                code.push(copy(dst, no_in));
                code.push(instr(op::SELECT, dst, condition_in, yes_in, 0));
            }
            return Ok(());
        }
        let operands: Vec<u8> = value.operands().map(|id| registers.of(id)).collect();
        let operand = |index: usize| operands.get(index).copied().unwrap_or_default();
        // One instruction reads before it writes: an operand that ends here makes room.
        registers.release(at);
        let dst = registers.take(id, self.homes.get(&id).copied(), until)?;
        match value {
            Value::Constant(number) => constant(dst, number, code),
            Value::Input(operation, imm) => code.push(instr(operation, dst, 0, 0, imm)),
            Value::Load(width, _, offset) => {
                code.push(instr(op::LOAD, dst, operand(0), width, offset));
            }
            Value::TryLoad(width, _, offset) => {
                code.push(instr(op::TRY_LOAD, dst, operand(0), width, offset));
            }
            Value::Noted(_) => code.push(instr(op::NOTED, dst, operand(0), 0, 0)),
            Value::Cast(width, _) => code.push(instr(op::CAST, dst, operand(0), width, 0)),
            Value::Binary(operation, _, _) => {
                code.push(instr(operation, dst, operand(0), operand(1), 0));
            }
            Value::Select(..) => {}
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Order {
    done: HashSet<Id>,
    registers: HashMap<Id, usize>,
}

/// Outputs that say what was tried, as opposed to what came of it.
fn describes_attempt(register: u8) -> bool {
    matches!(
        register,
        reg::OWNER | reg::POOL | reg::REQUESTED | reg::CHARGED | reg::DEVICE
    )
}

fn instr(op: u8, dst: u8, a: u8, b: u8, imm: i32) -> Instr {
    Instr { op, dst, a, b, imm }
}

fn copy(dst: u8, from: u8) -> Instr {
    instr(op::CAST, dst, from, width::U64, 0)
}

fn constant(dst: u8, number: u64, code: &mut Vec<Instr>) {
    let signed = number.cast_signed();
    match i32::try_from(signed) {
        Ok(imm) => code.push(instr(op::CONST, dst, 0, 0, imm)),
        Err(_) => {
            // Both halves as they are: the high one replaces the extended sign of the low one.
            let low = (signed & 0xffff_ffff) as u32;
            let high = (number >> 32) as u32;
            code.push(instr(op::CONST, dst, 0, 0, low.cast_signed()));
            code.push(instr(op::CONST_HIGH, dst, 0, 0, high.cast_signed()));
        }
    }
}
