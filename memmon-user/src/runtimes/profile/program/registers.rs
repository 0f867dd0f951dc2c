//! Which value lies in which register, step by step.

use std::collections::HashMap;

use memmon_ebpf::spec::{REGISTERS, reg};

use super::graph::Id;
use crate::runtimes::profile::error::Problem;

/// Which register holds what, while the steps are walked through.
#[derive(Debug)]
pub(super) struct Registers {
    /// Whose each register is, and the last step that needs it.
    held: [Option<(Id, usize)>; REGISTERS],
    places: HashMap<Id, u8>,
    /// From which step on a register belongs to an output; up to there it may hold something else.
    output_from: [Option<usize>; REGISTERS],
}

impl Registers {
    /// `output_from` as in the field.
    pub(super) fn new(output_from: [Option<usize>; REGISTERS]) -> Self {
        Self {
            held: [None; REGISTERS],
            places: HashMap::new(),
            output_from,
        }
    }

    pub(super) fn of(&self, id: Id) -> u8 {
        self.places.get(&id).copied().unwrap_or_default()
    }

    /// Whether nothing after this step needs the value, and its register may be used further.
    pub(super) fn can_pass_on(&self, id: Id, at: usize, until: usize) -> bool {
        let register = usize::from(self.of(id));
        let held = self.held.get(register).copied().flatten();
        let output_from = self.output_from.get(register).copied().flatten();
        held.is_some_and(|(holder, last)| holder == id && last <= at)
            && output_from.is_none_or(|from| until < from)
    }

    /// Frees what no step after this one needs.
    pub(super) fn release(&mut self, at: usize) {
        for slot in &mut self.held {
            if slot.is_some_and(|(_, until)| until <= at) {
                *slot = None;
            }
        }
    }

    pub(super) fn take(&mut self, id: Id, home: Option<u8>, until: usize) -> Result<u8, Problem> {
        if let Some(home) = home {
            self.hold(home, id, usize::MAX);
            return Ok(home);
        }
        let outputs = usize::from(reg::OUTPUTS);
        let free = (outputs..REGISTERS).chain(0..outputs).find(|register| {
            let free = self.held.get(*register).is_some_and(Option::is_none);
            let output_from = self.output_from.get(*register).copied().flatten();
            // An output that the program does not set is 0: nothing may be left there.
            let ours = *register >= outputs || output_from.is_some_and(|from| until < from);
            free && ours
        });
        let register = free
            .and_then(|register| u8::try_from(register).ok())
            .ok_or(Problem::TooManyRegisters)?;
        self.hold(register, id, until);
        Ok(register)
    }

    /// `to` takes over the register of `from`.
    pub(super) fn rename(&mut self, from: Id, to: Id, until: usize) {
        let register = self.of(from);
        self.hold(register, to, until);
    }

    fn hold(&mut self, register: u8, id: Id, until: usize) {
        if let Some(slot) = self.held.get_mut(usize::from(register)) {
            *slot = Some((id, until));
        }
        self.places.insert(id, register);
    }
}
