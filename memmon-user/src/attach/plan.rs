//! From probes and a library file to points: every symbol found, or a reason why not.

use std::collections::BTreeSet;

use memmon_ebpf::spec::Action;

use crate::{
    attach::kernel::Point,
    elf::{Library, Pattern},
    runtimes::profile::{At, CompiledProbe, SymbolPattern},
};

/// Where each probe stands in this file. Two symbols at one address are one point.
pub fn points(library: &Library, probes: &[CompiledProbe]) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    let mut missing = Vec::new();
    let mut taken = BTreeSet::new();
    let found = addresses(library, probes);
    for (probe, addresses) in probes.iter().zip(found) {
        if addresses.is_empty() && !probe.optional {
            missing.push(describe(probe));
        }
        for address in addresses {
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
            if taken.insert((file_offset, at_return)) {
                points.push(Point {
                    file_offset,
                    spec: probe.spec,
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
        Action::Free,
        Action::FreeAll,
        Action::OwnerOpen,
        Action::Register,
        Action::Fail,
        Action::Commit,
        Action::Alloc,
        Action::Begin,
    ]
    .iter()
    .position(|known| *known as u8 == action)
    .and_then(|turn| u8::try_from(turn).ok())
    .unwrap_or(u8::MAX)
}

/// The addresses of every probe, in one pass over the symbols.
fn addresses(library: &Library, probes: &[CompiledProbe]) -> Vec<BTreeSet<u64>> {
    let mut patterns = Vec::new();
    let mut wanted: Vec<(usize, &SymbolPattern)> = Vec::new();
    let mut found = vec![BTreeSet::new(); probes.len()];
    for (index, probe) in probes.iter().enumerate() {
        for symbol in &probe.symbols {
            match symbol {
                SymbolPattern::Exact(name) => patterns.push(Pattern::Exact(name)),
                SymbolPattern::Prefix(prefix) => patterns.push(Pattern::Prefix(prefix)),
                SymbolPattern::Plt(import) => {
                    found[index].extend(library.plt_stub(import));
                    continue;
                }
            }
            wanted.push((index, symbol));
        }
    }
    for ((index, pattern), symbols) in wanted.into_iter().zip(library.symbols(&patterns)) {
        found[index].extend(
            symbols
                .iter()
                .filter(|symbol| pattern.matches(&symbol.name))
                .map(|symbol| symbol.address),
        );
    }
    found
}

fn describe(probe: &CompiledProbe) -> String {
    let names: Vec<&str> = probe
        .symbols
        .iter()
        .map(|symbol| match symbol {
            SymbolPattern::Exact(name) | SymbolPattern::Prefix(name) | SymbolPattern::Plt(name) => {
                name.as_str()
            }
        })
        .collect();
    format!("the function of `{}` ({})", probe.name, names.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_go_live_first_and_beginnings_last() {
        let mut actions: Vec<Action> = Action::ALL.iter().map(|(action, _)| *action).collect();
        actions.sort_by_key(|action| turn(*action as u8));
        assert_eq!(actions.first(), Some(&Action::Free));
        assert_eq!(actions.last(), Some(&Action::Begin));
        let turns: BTreeSet<u8> = actions.iter().map(|action| turn(*action as u8)).collect();
        assert_eq!(turns.len(), Action::ALL.len(), "an action without a turn");
    }
}
