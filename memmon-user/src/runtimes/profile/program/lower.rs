//! Expressions → a graph of values, in which equal parts are one value and constants are folded.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use memmon_ebpf::spec::{Action, op, width};

use crate::runtimes::profile::{
    document::schema::{Formula, Probe},
    error::{Problem, ProfileError, Source, Suggestion},
    expression::{Binary, Expression, Node, VALUES, arithmetic},
};

/// How deep expressions and the names they use may nest.
const MAX_DEPTH: usize = 200;

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

    fn add(&mut self, value: Value) -> Id {
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

    fn try_load(&mut self, width: u8, address: Id) -> Id {
        let load = self.load(width, address);
        match self.get(load) {
            Value::Load(width, base, offset) => self.add(Value::TryLoad(width, base, offset)),
            _ => load,
        }
    }

    fn load(&mut self, width: u8, address: Id) -> Id {
        if let Value::Binary(op::ADD, base, offset) = self.get(address)
            && let Some(offset) = self.as_constant(offset)
            && let Ok(offset) = i32::try_from(offset.cast_signed())
        {
            return self.add(Value::Load(width, base, offset));
        }
        self.add(Value::Load(width, address, 0))
    }

    fn cast(&mut self, to: u8, id: Id) -> Id {
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
    fn binary(&mut self, operation: u8, mut a: Id, mut b: Id) -> Option<Id> {
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

    fn not(&mut self, id: Id) -> Id {
        let zero = self.constant(0);
        self.binary(op::EQ, id, zero).unwrap_or(id)
    }

    /// 1 where the value is not 0.
    fn truth(&mut self, id: Id) -> Id {
        if self.is_truth(id) {
            return id;
        }
        let not = self.not(id);
        self.not(not)
    }

    fn select(&mut self, condition: Id, yes: Id, no: Id) -> Id {
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

/// Lowers the formulas of one probe.
#[derive(Debug)]
pub struct Lowering<'a> {
    pub graph: Graph,
    source: &'a Source,
    probe: &'a Probe,
    constants: &'a BTreeMap<String, i64>,
    /// Names from `let`: nothing while they are being worked out.
    names: HashMap<&'a str, Option<Id>>,
    depth: usize,
    /// What cannot be read is 0.
    lenient: bool,
}

/// A formula and what errors call it.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    formula: &'a Formula,
    name: &'a str,
    is_let: bool,
}

type Lowered = Result<Id, Box<ProfileError>>;

impl<'a> Lowering<'a> {
    pub fn new(source: &'a Source, probe: &'a Probe, constants: &'a BTreeMap<String, i64>) -> Self {
        Self {
            graph: Graph::default(),
            source,
            probe,
            constants,
            names: HashMap::new(),
            depth: 0,
            lenient: false,
        }
    }

    /// The value of a field that no number depends on: what of it cannot be read is 0.
    pub fn lenient_field(&mut self, name: &'a str, formula: &'a Formula) -> Lowered {
        self.lenient = true;
        let known = std::mem::take(&mut self.names);
        let result = self.field(name, formula);
        self.names = known;
        self.lenient = false;
        result
    }

    /// The value of a field of the probe.
    pub fn field(&mut self, name: &'a str, formula: &'a Formula) -> Lowered {
        let place = Place {
            formula,
            name,
            is_let: false,
        };
        self.lower(place, &formula.expression)
    }

    /// The value of a field of which only matters whether it is 0.
    pub fn condition(&mut self, name: &'a str, formula: &'a Formula) -> Lowered {
        let id = self.field(name, formula)?;
        Ok(self.graph.condition(id))
    }

    fn error(&self, place: Place<'a>, part: &Range<usize>, problem: Problem) -> Box<ProfileError> {
        let mut path = vec![format!("probe \"{}\"", self.probe.name)];
        if place.is_let {
            path.push("let".into());
        }
        path.push(place.name.to_owned());
        let span = place.formula.locate(part);
        Box::new(ProfileError::new(self.source, &span, &path, problem))
    }

    fn lower(&mut self, place: Place<'a>, expression: &'a Expression) -> Lowered {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let problem = Problem::Expression("nested too deep".into());
            return Err(self.error(place, &expression.span, problem));
        }
        let result = self.lower_node(place, expression);
        self.depth -= 1;
        result
    }

    fn lower_node(&mut self, place: Place<'a>, expression: &'a Expression) -> Lowered {
        Ok(match &expression.node {
            Node::Number(number) => self.graph.constant(*number),
            Node::Argument(index) => self.input(op::ARG, i32::from(*index)),
            Node::Stack(index) => self.input(op::STACK, i32::from(*index) + 1),
            Node::ReturnAddress => self.input(op::STACK, 0),
            Node::Return => self.input(op::RET, 0),
            Node::Pending(register) => {
                // An allocation's own, or what was carried to the function's return.
                let from = match self.probe.action {
                    Action::Commit | Action::Fail => op::PENDING,
                    _ => op::CARRIED,
                };
                self.input(from, i32::from(*register))
            }
            Node::Current => self.input(op::CURRENT, 0),
            Node::Position => self.input(op::POSITION, 0),
            Node::Whole => self.input(op::WHOLE, 0),
            Node::Noted(key) => {
                let key = self.lower(place, key)?;
                self.graph.add(Value::Noted(key))
            }
            Node::Constant(name) => match self.constants.get(name) {
                Some(number) => self.graph.constant(number.cast_unsigned()),
                None => {
                    let known = self.constants.keys().map(String::as_str);
                    let problem = Problem::Unknown {
                        what: "constant",
                        name: format!("${name}"),
                        suggestion: Suggestion::among(name, known),
                    };
                    return Err(self.error(place, &expression.span, problem));
                }
            },
            Node::Name(name) => self.name(place, name, &expression.span)?,
            Node::Load(width, address) => {
                let address = self.lower(place, address)?;
                if self.lenient {
                    self.graph.try_load(*width, address)
                } else {
                    self.graph.load(*width, address)
                }
            }
            Node::Cast(width, value) => {
                let value = self.lower(place, value)?;
                self.graph.cast(*width, value)
            }
            Node::Not(value) => {
                let value = self.lower(place, value)?;
                self.graph.not(value)
            }
            Node::If(condition, yes, no) => {
                let condition = self.lower(place, condition)?;
                let condition = self.graph.condition(condition);
                // A release that lacks a field must not fail over the branch it does not take.
                match self.graph.as_constant(condition) {
                    Some(0) => self.lower(place, no)?,
                    Some(_) => self.lower(place, yes)?,
                    None => {
                        let yes = self.lower(place, yes)?;
                        let no = self.lower(place, no)?;
                        self.graph.select(condition, yes, no)
                    }
                }
            }
            Node::Binary(Binary::And, left, right) => {
                let left = self.lower(place, left)?;
                match self.graph.as_constant(left) {
                    Some(0) => left,
                    Some(_) => {
                        let right = self.lower(place, right)?;
                        self.graph.truth(right)
                    }
                    None => {
                        let right = self.lower(place, right)?;
                        let (left, right) = (self.graph.truth(left), self.graph.truth(right));
                        self.step(place, expression, op::AND, left, right)?
                    }
                }
            }
            Node::Binary(Binary::Or, left, right) => {
                let left = self.lower(place, left)?;
                match self.graph.as_constant(left) {
                    Some(0) => {
                        let right = self.lower(place, right)?;
                        self.graph.truth(right)
                    }
                    Some(_) => self.graph.constant(1),
                    None => {
                        let right = self.lower(place, right)?;
                        let either = self.step(place, expression, op::OR, left, right)?;
                        self.graph.truth(either)
                    }
                }
            }
            Node::Binary(operator, left, right) => {
                let a = self.lower(place, left)?;
                let b = self.lower(place, right)?;
                self.operator(place, expression, *operator, a, b)?
            }
        })
    }

    fn operator(
        &mut self,
        place: Place<'a>,
        expression: &'a Expression,
        operator: Binary,
        a: Id,
        b: Id,
    ) -> Lowered {
        let (operation, a, b, opposite) = match operator {
            Binary::Add => (op::ADD, a, b, false),
            Binary::Subtract => (op::SUB, a, b, false),
            Binary::Multiply => (op::MUL, a, b, false),
            Binary::Divide => (op::DIV, a, b, false),
            Binary::CeilDivide => (op::DIV_CEIL, a, b, false),
            Binary::AlignUp => (op::ALIGN_UP, a, b, false),
            Binary::BitAnd | Binary::And => (op::AND, a, b, false),
            Binary::BitOr | Binary::Or => (op::OR, a, b, false),
            Binary::ShiftLeft => (op::SHL, a, b, false),
            Binary::ShiftRight => (op::SHR, a, b, false),
            Binary::Equal => (op::EQ, a, b, false),
            Binary::NotEqual => (op::EQ, a, b, true),
            Binary::Less => (op::LT, a, b, false),
            Binary::GreaterEqual => (op::LT, a, b, true),
            Binary::Greater => (op::LT, b, a, false),
            Binary::LessEqual => (op::LT, b, a, true),
            Binary::Bit => {
                let shifted = self.step(place, expression, op::SHR, a, b)?;
                (op::AND, shifted, self.graph.constant(1), false)
            }
        };
        let result = self.step(place, expression, operation, a, b)?;
        Ok(if opposite {
            self.graph.not(result)
        } else {
            result
        })
    }

    fn step(
        &mut self,
        place: Place<'a>,
        expression: &'a Expression,
        operation: u8,
        a: Id,
        b: Id,
    ) -> Lowered {
        self.graph.binary(operation, a, b).ok_or_else(|| {
            let problem = Problem::Expression("divides by zero".into());
            self.error(place, &expression.span, problem)
        })
    }

    fn input(&mut self, operation: u8, imm: i32) -> Id {
        self.graph.add(Value::Input(operation, imm))
    }

    fn name(&mut self, place: Place<'a>, name: &'a str, span: &Range<usize>) -> Lowered {
        match self.names.get(name) {
            Some(Some(id)) => return Ok(*id),
            Some(None) => {
                let text = format!("let '{name}' is defined by way of itself");
                return Err(self.error(place, span, Problem::Expression(text)));
            }
            None => {}
        }
        let Some(formula) = self.probe.lets.get(name) else {
            let problem = unknown_name(self.probe, name);
            return Err(self.error(place, span, problem));
        };
        self.names.insert(name, None);
        let inner = Place {
            formula,
            name,
            is_let: true,
        };
        let result = self.lower(inner, &formula.expression);
        match &result {
            Ok(id) => self.names.insert(name, Some(*id)),
            Err(_) => self.names.remove(name),
        };
        result
    }
}

/// A name that is neither built in nor in `let`.
pub fn unknown_name(probe: &Probe, name: &str) -> Problem {
    let known = probe.lets.keys().map(String::as_str).chain(VALUES);
    Problem::Unknown {
        what: "name",
        name: name.to_owned(),
        suggestion: Suggestion::among(name, known),
    }
}
