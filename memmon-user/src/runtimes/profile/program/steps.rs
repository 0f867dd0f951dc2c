//! A graph of values → steps: in which order values are worked out, and what ends a probe early.

use std::collections::{HashMap, HashSet};

use memmon_ebpf::spec::{Action, reg};

use super::{
    blocks::{self, Block},
    graph::{Graph, Id},
};

/// What ends a program early.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    pub require: Option<Id>,
    pub succeed: Option<Id>,
    /// The error code, for where `succeed` says no.
    pub error: Option<Id>,
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
pub(super) struct Program<'a> {
    pub graph: &'a Graph,
    pub steps: Vec<Step>,
    /// The output register in which a value is computed.
    pub homes: HashMap<Id, u8>,
    /// The outputs, a bit each.
    pub mask: u8,
}

impl<'a> Program<'a> {
    pub fn new(
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
    pub fn with_blocks(&self) -> Self {
        Self {
            steps: blocks::gather(self.graph, &self.steps),
            ..self.clone()
        }
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
