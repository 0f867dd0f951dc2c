//! Whether a probe makes sense by itself: its place, and what it says for its action.

use std::ops::Range;

use memmon_ebpf::spec::{Action, reg};

use super::{Check, name};
use crate::runtimes::profile::{
    document::schema::{At, Probe, SymbolPattern},
    error::{Problem, Suggestion},
    expression::{Node, OUTPUTS},
};

const ALL: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

impl Check<'_> {
    pub(super) fn symbols(&mut self, probe: &Probe, path: &[String]) {
        if probe.symbols.is_empty() {
            let text = "names no function: give `symbol`, `prefix`, `plt` or `location`";
            self.add(&probe.span, path, text);
        }
        for (index, (symbol, span)) in probe.symbols.iter().zip(&probe.symbol_spans).enumerate() {
            let name = match symbol {
                SymbolPattern::Exact(name)
                | SymbolPattern::Prefix(name)
                | SymbolPattern::Plt(name)
                | SymbolPattern::Constant(name) => name,
                SymbolPattern::Address(_) => continue,
            };
            if matches!(symbol, SymbolPattern::Constant(_)) {
                self.address(span, path, name);
            }
            if name.is_empty() || name.contains(char::is_whitespace) {
                self.add(span, path, format!("'{name}' is no symbol"));
            } else if name.contains("::") {
                let text = format!("'{name}': give the mangled name, as `nm -D` prints it");
                self.add(span, path, text);
            }
            if probe
                .symbols
                .iter()
                .take(index)
                .any(|earlier| earlier == symbol)
            {
                let (what, name) = ("symbol", name.clone());
                self.errors
                    .add(span, path, Problem::Duplicate { what, name });
            }
        }
    }

    /// Only a resolver knows addresses in a file.
    fn address(&mut self, span: &Range<usize>, path: &[String], name: &str) {
        let known = match (self.resolver, &self.profile.resolver) {
            (Some(resolver), _) => resolver.constants,
            // Complained of already.
            (None, Some(_)) => return,
            (None, None) => &[],
        };
        if !known.contains(&name) {
            let problem = Problem::Unknown {
                what: "constant",
                name: format!("${name}"),
                suggestion: Suggestion::among(name, known.iter().copied()),
            };
            self.errors.add(span, path, problem);
        }
    }

    pub(super) fn place(&mut self, probe: &Probe, path: &[String]) {
        if probe.at == At::Return && probe.throws {
            let text = "at: a return probe on a function that can throw kills the process it observes: \
                        say `throws = false` of the library or the probe where that is certain (a C API), \
                        else probe the entry of a function that is called once the allocation is done";
            self.add(&probe.at_span, path, text);
        }
        let is_stub = |symbol: &SymbolPattern| matches!(symbol, SymbolPattern::Plt(_));
        if probe.at == At::Return && probe.symbols.iter().any(is_stub) {
            let text = "at: a `plt` stub is only jumped through: it has no return of its own";
            self.add(&probe.at_span, path, text);
        }
        if probe.starts_process && probe.action != Action::OwnerOpen {
            let text =
                "starts_process: only an owner_open can be where the allocator comes to life";
            self.add(&probe.span, path, text);
        }
        let ignores = matches!(
            probe.action,
            Action::Fail | Action::FreeAll | Action::OwnerOpen | Action::Register | Action::Carry
        );
        if probe.succeed.is_some() && ignores {
            let text = format!("succeed: means nothing for {}", name(probe.action));
            self.add(&probe.span, path, text);
        }
        let may_fail = matches!(
            probe.action,
            Action::Commit | Action::Alloc | Action::Fail | Action::Freed
        );
        if let Some(error) = &probe.error {
            if !may_fail {
                let text = format!("error: means nothing for {}", name(probe.action));
                self.add(&error.span, path, text);
            } else if probe.succeed.is_none() && probe.action != Action::Fail {
                let text = "error: without `succeed` nothing fails";
                self.add(&error.span, path, text);
            }
        }
        if probe.action == Action::Freed && probe.at != At::Return {
            let text = "freed: only at = \"return\" is known what became of a free";
            self.add(&probe.at_span, path, text);
        }
        if probe.action == Action::Carry && probe.at == At::Return {
            let text = "carry: from the entry of a function to its return";
            self.add(&probe.at_span, path, text);
        }
        let by_key = matches!(
            probe.action,
            Action::Free | Action::Retain | Action::Release
        );
        if probe.known_only && !by_key {
            let text = format!("known_only: means nothing for {}", name(probe.action));
            self.add(&probe.span, path, text);
        }
    }

    pub(super) fn outputs(&mut self, probe: &Probe, path: &[String]) {
        let (required, allowed): (&[u8], &[u8]) = match probe.action {
            Action::Begin | Action::Commit | Action::Alloc | Action::Carry => (&[], &ALL),
            Action::Fail | Action::Freed | Action::PopCurrent => (&[], &[]),
            Action::Free | Action::Retain | Action::Release => (&[reg::KEY], &[reg::KEY]),
            Action::Note => (&[reg::KEY, reg::VALUE], &[reg::KEY, reg::VALUE]),
            Action::SetCurrent | Action::PushCurrent => (&[reg::VALUE], &[reg::VALUE]),
            Action::FreeAll => (&[reg::OWNER], &[reg::OWNER]),
            Action::OwnerOpen => (
                &[reg::OWNER],
                &[reg::OWNER, reg::POOL, reg::DEVICE, reg::AUX],
            ),
            Action::Register => (&[reg::OWNER, reg::REQUESTED], {
                const NO_KEY: [u8; 7] = [1, 2, 3, 4, 5, 6, 7];
                &NO_KEY
            }),
        };
        for (field, register) in OUTPUTS {
            let formula = &probe.outputs[usize::from(register)];
            let field = if register == reg::VALUE && probe.action.remembers() {
                "value"
            } else {
                field
            };
            match formula {
                None if required.contains(&register) => {
                    let text = format!("{} needs `{field}`", name(probe.action));
                    self.add(&probe.span, path, text);
                }
                Some(formula) if !allowed.contains(&register) => {
                    let text = format!("{field}: means nothing for {}", name(probe.action));
                    self.add(&formula.span, path, text);
                }
                _ => {}
            }
        }
        self.pool(probe, path);
    }

    /// Constant pools must be named; a pool that is not charged takes nothing.
    fn pool(&mut self, probe: &Probe, path: &[String]) {
        if !matches!(
            probe.action,
            Action::Alloc | Action::Register | Action::Begin
        ) {
            return;
        }
        let [_, _, pool, _, charged, ..] = &probe.outputs;
        let (number, span) = match pool.as_ref() {
            Some(formula) => match &formula.expression.node {
                Node::Number(number) => (*number, &formula.span),
                _ => return,
            },
            // `commit` may say it.
            None if probe.action == Action::Begin => return,
            None => (0, &probe.span),
        };
        let known = u32::try_from(number)
            .ok()
            .and_then(|number| self.profile.pools.get(&number));
        let Some(known) = known else {
            let text = if pool.is_some() {
                format!("pool: [pools] does not name number {number}")
            } else {
                "without `pool` it is number 0, which [pools] does not name".to_owned()
            };
            self.add(span, path, text);
            return;
        };
        if !known.charged
            && let Some(charged) = charged
            && charged.expression.node != Node::Number(0)
        {
            let text = format!("charged: {} takes no bytes of its own: 0", known.name);
            self.add(&charged.span, path, text);
        }
    }
}
