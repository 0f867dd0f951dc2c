//! A probe of a profile → its [`ProbeSpec`].

use std::collections::BTreeMap;

use memmon_ebpf::{
    WIRE_VERSION,
    spec::{Action, Instr, MAX_INSTRS, ProbeSpec, flag, reg},
};

use super::{
    graph::{Graph, Id},
    lower::Lowering,
    steps::{Conditions, Program},
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
