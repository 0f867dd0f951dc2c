//! Whether a probe's formulas mean something where they stand.

use std::ops::Range;

use memmon_ebpf::spec::{Action, width};

use super::{Check, name, output_name, sets};
use crate::runtimes::profile::{
    document::schema::{At, Formula, Library, Probe},
    error::{Problem, Suggestion},
    expression::{Expression, Node, OUTPUTS},
    program::{compile::INDEX, lower},
};

impl Check<'_> {
    /// What every part of an expression must hold to, in branches not taken too.
    pub(super) fn formula(
        &mut self,
        library: &Library,
        probe: &Probe,
        path: &[String],
        formula: &Formula,
        expression: &Expression,
    ) {
        let at_return = probe.at == At::Return;
        let place = formula.locate(&expression.span);
        match &expression.node {
            Node::Argument(_) | Node::Stack(_) | Node::ReturnAddress if at_return => {
                let text = "arguments are gone when the function returns: keep it in an output of a \
                            `begin` at the entry, and read `pending.<output>` here";
                self.add(&place, path, text);
            }
            Node::Return if !at_return => {
                self.add(
                    &place,
                    path,
                    "there is no `ret` at the entry: at = \"return\"",
                );
            }
            Node::Pending(register) => {
                let left_by = match probe.action {
                    Action::Commit | Action::Fail => Some(Action::Begin),
                    _ if at_return => Some(Action::Carry),
                    _ => None,
                };
                let Some(left_by) = left_by else {
                    let text = format!("`pending` means nothing for {}", name(probe.action));
                    return self.add(&place, path, text);
                };
                let mut before = self.probes().filter(|other| other.action == left_by);
                if !before.any(|other| sets(other, *register)) {
                    let (by, field) = (name(left_by), output_name(*register));
                    self.add(&place, path, format!("no `{by}` sets `{field}`"));
                }
            }
            Node::Constant(constant) if probe.index.is_some() && constant == INDEX => {}
            Node::Constant(constant) => self.constant(library, path, &place, constant),
            Node::Name(called) if !probe.lets.contains_key(called) => {
                let problem = lower::unknown_name(probe, called);
                self.errors.add(&place, path, problem);
            }
            _ => {}
        }
        for part in parts(&expression.node) {
            self.formula(library, probe, path, formula, part);
        }
    }

    fn constant(&mut self, library: &Library, path: &[String], place: &Range<usize>, name: &str) {
        if library.constants.contains_key(name) {
            return;
        }
        let supplied = match (self.resolver, &self.profile.resolver) {
            (Some(resolver), _) => resolver.constants,
            // Of an unknown resolver, already complained of, nothing is known.
            (None, Some(_)) => return,
            (None, None) => &[],
        };
        if !supplied.contains(&name) {
            let known = library.constants.keys().map(String::as_str);
            let problem = Problem::Unknown {
                what: "constant",
                name: format!("${name}"),
                suggestion: Suggestion::among(name, known.chain(supplied.iter().copied())),
            };
            self.errors.add(place, path, problem);
        }
    }

    /// `i32(ret) == 0` reads memory at the status: surely not what was meant.
    pub(super) fn status(&mut self, path: &[String], formula: &Formula, expression: &Expression) {
        if let Node::Load(wide, address) = &expression.node
            && address.node == Node::Return
        {
            let wide = u32::from(wide & !width::SIGNED) * 8;
            let text = format!(
                "succeed: reads memory at the address that was returned; \
                 of the returned number itself the low bits are low{}(ret)",
                wide.min(32)
            );
            self.add(&formula.locate(&expression.span), path, text);
        }
        for part in parts(&expression.node) {
            self.status(path, formula, part);
        }
    }
}

/// All formulas of a probe, with their field, and whether that is a name in `let`.
pub(super) fn formulas(probe: &Probe) -> Vec<(&str, &Formula, bool)> {
    let conditions = [
        ("require", &probe.require),
        ("succeed", &probe.succeed),
        ("error", &probe.error),
    ];
    let outputs = OUTPUTS
        .into_iter()
        .map(|(name, _)| name)
        .zip(&probe.outputs);
    conditions
        .into_iter()
        .chain(outputs)
        .filter_map(|(field, formula)| formula.as_ref().map(|formula| (field, formula, false)))
        .chain(
            probe
                .lets
                .iter()
                .map(|(field, formula)| (field.as_str(), formula, true)),
        )
        .collect()
}

fn parts(node: &Node) -> Vec<&Expression> {
    match node {
        Node::Load(_, a) | Node::Cast(_, a) | Node::Not(a) | Node::Noted(a) => vec![a],
        Node::Binary(_, a, b) => vec![a, b],
        Node::If(a, b, c) => vec![a, b, c],
        _ => Vec::new(),
    }
}
