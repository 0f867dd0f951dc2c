//! The values of one probe as a graph, in which equal parts are one value and constants are folded.

use std::collections::HashMap;

use memmon_ebpf::spec::{op, width};

use crate::runtimes::profile::expression::arithmetic;

/// A value of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(usize);

/// How a value comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Constant(u64),
    /// An operation that only has an `imm`: an argument, the stack, the return value.
    Input(u8, i32),
    /// `*(base + offset)`
    Load(u8, Id, i32),
    /// The same, 0 where it cannot be read.
    TryLoad(u8, Id, i32),
    /// What was noted under a key.
    Noted(Id),
    Cast(u8, Id),
    Binary(u8, Id, Id),
    /// Condition, then, else.
    Select(Id, Id, Id),
}

impl Value {
    /// What has to be computed before.
    pub fn operands(self) -> impl Iterator<Item = Id> {
        let operands = match self {
            Self::Constant(_) | Self::Input(..) => [None, None, None],
            Self::Load(_, a, _) | Self::TryLoad(_, a, _) | Self::Cast(_, a) | Self::Noted(a) => {
                [Some(a), None, None]
            }
            Self::Binary(_, a, b) => [Some(a), Some(b), None],
            Self::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        operands.into_iter().flatten()
    }

    /// Whether this step can end the probe: it reads memory, or divides.
    fn can_fail(self) -> bool {
        match self {
            Self::Load(..) => true,
            Self::Input(operation, _) => operation == op::STACK,
            Self::Binary(operation, _, _) => {
                matches!(operation, op::DIV | op::DIV_CEIL | op::ALIGN_UP)
            }
            _ => false,
        }
    }
}

/// All values of one probe.
#[derive(Debug, Default)]
pub struct Graph {
    values: Vec<Value>,
    facts: Vec<Facts>,
    known: HashMap<Value, Id>,
}

/// What is known of a value, worked out once, when it is made.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// It can only be 0 or 1.
    is_truth: bool,
    /// It, or something that it needs, can end the probe.
    can_fail: bool,
}

impl Graph {
    pub fn get(&self, id: Id) -> Value {
        self.values.get(id.0).copied().unwrap_or(Value::Constant(0))
    }

    pub fn add(&mut self, value: Value) -> Id {
        if let Some(id) = self.known.get(&value) {
            return *id;
        }
        let id = Id(self.values.len());
        let is_truth = match value {
            Value::Constant(number) => number <= 1,
            Value::Binary(op::EQ | op::LT, _, _) => true,
            Value::Binary(op::AND, a, b) => self.is_truth(a) || self.is_truth(b),
            Value::Binary(op::OR, a, b) => self.is_truth(a) && self.is_truth(b),
            _ => false,
        };
        let can_fail = value.can_fail() || value.operands().any(|operand| self.can_fail(operand));
        self.facts.push(Facts { is_truth, can_fail });
        self.values.push(value);
        self.known.insert(value, id);
        id
    }

    pub fn constant(&mut self, number: u64) -> Id {
        self.add(Value::Constant(number))
    }

    pub fn as_constant(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Value::Constant(number) => Some(number),
            _ => None,
        }
    }

    /// One more than that.
    pub fn successor(&mut self, id: Id) -> Id {
        let one = self.constant(1);
        self.binary(op::ADD, id, one).unwrap_or(id)
    }

    pub fn try_load(&mut self, width: u8, address: Id) -> Id {
        let load = self.load(width, address);
        match self.get(load) {
            Value::Load(width, base, offset) => self.add(Value::TryLoad(width, base, offset)),
            _ => load,
        }
    }

    pub fn load(&mut self, width: u8, address: Id) -> Id {
        if let Value::Binary(op::ADD, base, offset) = self.get(address)
            && let Some(offset) = self.as_constant(offset)
            && let Ok(offset) = i32::try_from(offset.cast_signed())
        {
            return self.add(Value::Load(width, base, offset));
        }
        self.add(Value::Load(width, address, 0))
    }

    pub fn cast(&mut self, to: u8, id: Id) -> Id {
        let bytes = to & !width::SIGNED;
        match self.get(id) {
            _ if bytes >= width::U64 => id,
            Value::Constant(number) => self.constant(arithmetic::narrow(number, to)),
            // Already that narrow.
            Value::Load(from, ..) | Value::Cast(from, _)
                if from == to || (from & width::SIGNED == 0 && from < bytes) =>
            {
                id
            }
            _ if bytes >= width::U8 && self.is_truth(id) => id,
            _ => self.add(Value::Cast(to, id)),
        }
    }

    /// Nothing where the operation fails for every input: a division by a constant zero.
    pub fn binary(&mut self, operation: u8, mut a: Id, mut b: Id) -> Option<Id> {
        if operation == op::SUB
            && let Some(number) = self.as_constant(b)
        {
            let negative = self.constant(number.wrapping_neg());
            return self.binary(op::ADD, a, negative);
        }
        let commutes = matches!(operation, op::ADD | op::MUL | op::AND | op::OR | op::EQ);
        if commutes && self.as_constant(a).is_some() {
            std::mem::swap(&mut a, &mut b);
        }
        let constants = (self.as_constant(a), self.as_constant(b));
        Some(match (operation, constants) {
            (_, (Some(a), Some(b))) => {
                let result = arithmetic::binary(operation, a, b)?;
                self.constant(result)
            }
            (op::DIV | op::DIV_CEIL | op::ALIGN_UP, (_, Some(0))) => return None,
            (op::ADD | op::OR | op::SHL | op::SHR, (_, Some(0)))
            | (op::MUL | op::DIV | op::DIV_CEIL | op::ALIGN_UP, (_, Some(1)))
            | (op::AND, (_, Some(u64::MAX))) => a,
            (op::ADD, (_, Some(more))) => match self.get(a) {
                Value::Binary(op::ADD, inner, first) if self.as_constant(first).is_some() => {
                    let first = self.as_constant(first).unwrap_or_default();
                    let sum = self.constant(first.wrapping_add(more));
                    return self.binary(op::ADD, inner, sum);
                }
                _ => self.add(Value::Binary(operation, a, b)),
            },
            // The opposite of an opposite, where 0 and 1 are all it can be.
            (op::EQ, (_, Some(0))) => match self.get(a) {
                Value::Binary(op::EQ, inner, zero)
                    if self.as_constant(zero) == Some(0) && self.is_truth(inner) =>
                {
                    inner
                }
                _ => self.add(Value::Binary(operation, a, b)),
            },
            (op::AND, (_, Some(1))) if self.is_truth(a) => a,
            _ => {
                // One order for `a + b` and `b + a`.
                if commutes && self.as_constant(b).is_none() && b < a {
                    std::mem::swap(&mut a, &mut b);
                }
                self.add(Value::Binary(operation, a, b))
            }
        })
    }

    /// Whether a value can only be 0 or 1.
    fn is_truth(&self, id: Id) -> bool {
        self.facts.get(id.0).is_some_and(|facts| facts.is_truth)
    }

    /// Whether computing a value and all it needs can end the probe.
    pub fn can_fail(&self, id: Id) -> bool {
        self.facts.get(id.0).is_some_and(|facts| facts.can_fail)
    }

    pub fn not(&mut self, id: Id) -> Id {
        let zero = self.constant(0);
        self.binary(op::EQ, id, zero).unwrap_or(id)
    }

    /// 1 where the value is not 0.
    pub fn truth(&mut self, id: Id) -> Id {
        if self.is_truth(id) {
            return id;
        }
        let not = self.not(id);
        self.not(not)
    }

    pub fn select(&mut self, condition: Id, yes: Id, no: Id) -> Id {
        match self.get(condition) {
            Value::Constant(0) => no,
            Value::Constant(_) => yes,
            // `if(x == 0, a, b)` is `if(x, b, a)`.
            Value::Binary(op::EQ, inner, zero) if self.as_constant(zero) == Some(0) => {
                self.select(inner, no, yes)
            }
            _ => self.add(Value::Select(condition, yes, no)),
        }
    }

    /// A value that is 0 exactly where `id` is, as cheap as can be.
    pub fn condition(&self, id: Id) -> Id {
        if let Value::Binary(op::EQ, inner, zero) = self.get(id)
            && self.as_constant(zero) == Some(0)
            && let Value::Binary(op::EQ, innermost, zero) = self.get(inner)
            && self.as_constant(zero) == Some(0)
        {
            return innermost;
        }
        id
    }
}
