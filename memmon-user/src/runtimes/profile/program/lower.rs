//! Expressions → a graph of values.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use memmon_ebpf::spec::{Action, op};

use super::graph::{Graph, Id, Value};
use crate::runtimes::profile::{
    document::schema::{Formula, Probe},
    error::{Problem, ProfileError, Source, Suggestion},
    expression::{Binary, Expression, Node, VALUES},
};

/// How deep expressions and the names they use may nest.
const MAX_DEPTH: usize = 200;

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
