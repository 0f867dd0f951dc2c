//! Steps → instructions: in which registers values are.

use std::collections::HashMap;

use memmon_ebpf::spec::{Instr, REGISTERS, op, reg, width};

use super::{
    graph::{Id, Value},
    registers::Registers,
    steps::{Program, Step},
};
use crate::runtimes::profile::error::Problem;

impl Program<'_> {
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

    /// In registers, as the interpreter runs it.
    pub fn code(&self) -> Result<Vec<Instr>, Problem> {
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
