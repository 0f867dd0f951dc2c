//! From probes and a library file to points: every symbol found, or a reason why not.

use std::collections::{BTreeMap, BTreeSet};

use memmon_ebpf::spec::{Action, ProbeSpec, op};

use crate::{
    attach::{
        kernel::Point,
        landing::{self, Landing, Needs},
        names,
    },
    elf::{Library, Pattern},
    runtimes::profile::{At, CompiledProbe, SymbolPattern},
};

/// Where each probe stands in this file. Two symbols at one address are one point.
pub fn points(library: &Library, probes: &[CompiledProbe]) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    let mut missing = Vec::new();
    let mut taken = BTreeSet::new();
    let found = addresses(library, probes);
    let landings = landings(library, probes, &found);
    for (probe, addresses) in probes.iter().zip(found) {
        if addresses.is_empty() && !probe.optional {
            missing.push(describe(probe));
        }
        for (entry, function) in addresses {
            let landing = landings.get(&entry).copied();
            let address = landing.map_or(entry, |landing| landing.address);
            let file_offset = library
                .file_offset(address)
                .filter(|_| library.is_code(address))
                .ok_or_else(|| {
                    format!(
                        "its symbol for `{}` lies at {address:#x}, which is no code of this file",
                        probe.name
                    )
                })?;
            let at_return = probe.at == At::Return;
            // Several probes may stand at one function, of which one counts.
            if !is_exclusive(&probe.spec) || taken.insert((file_offset, at_return)) {
                let mut spec = probe.spec;
                spec.label = function.name.map_or(0, |name| names::number(&name));
                points.push(Point {
                    file_offset,
                    moved: address - entry,
                    single_stepped: landing.is_some_and(|landing| landing.single_stepped),
                    spec,
                    at_return,
                });
            }
        }
    }
    points.sort_by_key(|point| turn(point.spec.action));
    if missing.is_empty() {
        Ok(points)
    } else {
        Err(format!("it lacks {}", missing.join(", ")))
    }
}

/// Probes go live one after the other while the program runs on. Ends come first, so that whatever
/// is seen to begin is seen to end; and what opens an allocation last, when all that can become of
/// it is watched. What begins before that is left to the walk.
fn turn(action: u8) -> u8 {
    [
        Action::Note,
        Action::SetCurrent,
        Action::PushCurrent,
        Action::PopCurrent,
        Action::Carry,
        Action::Freed,
        Action::Free,
        Action::Release,
        Action::FreeAll,
        Action::OwnerOpen,
        Action::Register,
        Action::Fail,
        Action::Retain,
        Action::Commit,
        Action::Alloc,
        Action::Begin,
    ]
    .iter()
    .position(|known| *known as u8 == action)
    .and_then(|turn| u8::try_from(turn).ok())
    .unwrap_or(u8::MAX)
}

/// How notes about points that the kernel steps through end.
pub const SINGLE_STEPPED: &str =
    "single-stepped by the kernel, which costs more than at the others";

/// What is to be said about points that the kernel steps through.
pub fn note(points: &[Point]) -> Option<String> {
    let count = points.iter().filter(|point| point.single_stepped).count();
    let verb = if count == 1 { "is" } else { "are" };
    (count > 0).then(|| format!("{count} of {} probes {verb} {SINGLE_STEPPED}", points.len()))
}

/// For each function where its probes stand. All of one function stand together: two places would be two traps.
fn landings(
    library: &Library,
    probes: &[CompiledProbe],
    found: &[Addresses],
) -> BTreeMap<u64, Landing> {
    let mut functions: BTreeMap<u64, (u64, Needs)> = BTreeMap::new();
    for (probe, addresses) in probes.iter().zip(found) {
        let needs = Needs::of(&probe.spec, probe.at == At::Return);
        for (address, Function { size, .. }) in addresses {
            functions
                .entry(*address)
                .and_modify(|(known, all)| {
                    *known = one_size(*known, *size);
                    *all = all.and(needs);
                })
                .or_insert((*size, needs));
        }
    }
    functions
        .into_iter()
        .map(|(address, (size, needs))| (address, landing::of(library, address, size, needs)))
        .collect()
}

/// Several names for one function: its size where they agree, else 0, which is none.
fn one_size(one: u64, other: u64) -> u64 {
    if one == other { one } else { 0 }
}

/// Of one probe: the functions by their addresses.
type Addresses = BTreeMap<u64, Function>;

#[derive(Clone, Debug, Default)]
struct Function {
    /// 0 where that is not known.
    size: u64,
    /// As a programmer calls it; none where that is not known, or mangled.
    name: Option<String>,
}

/// At one place, one of these is enough. What has a condition says itself which calls are its own.
fn is_exclusive(spec: &ProbeSpec) -> bool {
    let shared = [Action::Retain, Action::Release, Action::Freed];
    let action = Action::ALL
        .iter()
        .find(|(known, _)| *known as u8 == spec.action);
    let code = spec.code.iter().take(usize::from(spec.len));
    let has_condition = code.map(|instr| instr.op).any(|op| op == op::REQUIRE);
    !has_condition && action.is_none_or(|(action, _)| action.counts() && !shared.contains(action))
}

/// The addresses of every probe, in one pass over the symbols.
fn addresses(library: &Library, probes: &[CompiledProbe]) -> Vec<Addresses> {
    let mut patterns = Vec::new();
    let mut wanted: Vec<(usize, &SymbolPattern)> = Vec::new();
    let mut found = vec![Addresses::new(); probes.len()];
    for (index, probe) in probes.iter().enumerate() {
        for symbol in &probe.symbols {
            match symbol {
                SymbolPattern::Exact(name) => patterns.push(Pattern::Exact(name)),
                SymbolPattern::Prefix(prefix) => patterns.push(Pattern::Prefix(prefix)),
                SymbolPattern::Plt(import) => {
                    let stub = library.plt_stub(import);
                    found[index].extend(stub.map(|address| (address, Function::default())));
                    continue;
                }
                SymbolPattern::Address(address) => {
                    let function = Function {
                        size: 0,
                        name: Some(probe.name.clone()),
                    };
                    found[index].insert(*address, function);
                    continue;
                }
                // This library's resolver does not know it.
                SymbolPattern::Constant(_) => continue,
            }
            wanted.push((index, symbol));
        }
    }
    for ((index, pattern), symbols) in wanted.into_iter().zip(library.symbols(&patterns)) {
        for symbol in symbols {
            if pattern.matches(&symbol.name) {
                let is_plain = !symbol.name.starts_with("_Z");
                found[index]
                    .entry(symbol.address)
                    .and_modify(|function| function.size = one_size(function.size, symbol.size))
                    .or_insert_with(|| Function {
                        size: symbol.size,
                        name: is_plain.then(|| symbol.name.to_string()),
                    });
            }
        }
    }
    found
}

fn describe(probe: &CompiledProbe) -> String {
    let names: Vec<&str> = probe
        .symbols
        .iter()
        .filter_map(|symbol| match symbol {
            SymbolPattern::Exact(name) | SymbolPattern::Prefix(name) | SymbolPattern::Plt(name) => {
                Some(name.as_str())
            }
            SymbolPattern::Constant(_) | SymbolPattern::Address(_) => None,
        })
        .collect();
    if names.is_empty() {
        return format!("the function of `{}`", probe.name);
    }
    format!("the function of `{}` ({})", probe.name, names.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_go_live_first_and_beginnings_last() {
        let mut actions: Vec<Action> = Action::ALL.iter().map(|(action, _)| *action).collect();
        actions.sort_by_key(|action| turn(*action as u8));
        let first = actions.iter().find(|action| action.counts());
        assert_eq!(first, Some(&Action::Freed));
        assert_eq!(actions.last(), Some(&Action::Begin));
        let turns: BTreeSet<u8> = actions.iter().map(|action| turn(*action as u8)).collect();
        assert_eq!(turns.len(), Action::ALL.len(), "an action without a turn");
    }
}
