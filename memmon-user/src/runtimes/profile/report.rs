//! What `memmon-ebpf profiles` and `memmon-ebpf profiles check FILE` print.

use std::{collections::BTreeMap, fmt::Write as _};

use memmon_ebpf::spec::MAX_INSTRS;
use serde_json::json;

use super::{
    ProfileError, check,
    document::schema::{At, Probe, Profile, SymbolPattern},
    program::explain::{disassemble, reads},
    resolvers,
};

/// The runtimes known, one a line, and below the table what their status rests on.
pub fn list(profiles: &[Profile]) -> String {
    let heads = [
        "RUNTIME",
        "FAMILY",
        "LAYER",
        "LOOKED FOR",
        "STATUS",
        "POOLS",
        "LIBRARIES",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(profiles.iter().map(|profile| {
        [
            profile.name.clone(),
            profile.family.clone(),
            profile.layer.to_string(),
            looked_for(profile),
            profile.status.clone(),
            pools(profile),
            libraries(profile),
        ]
    }));
    let mut text = String::new();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let width = widths.first().copied().unwrap_or_default();
    let mut head = "\nTested on:\n";
    for profile in profiles.iter().filter(|known| !known.tested.is_empty()) {
        let _ = writeln!(text, "{head}  {:width$}  {}", profile.name, profile.tested);
        head = "";
    }
    let mut head = "\nProfiles of your own:\n";
    for profile in profiles.iter().filter(|known| !known.is_built_in()) {
        let _ = writeln!(text, "{head}  {:width$}  {}", profile.name, profile.file());
        head = "";
    }
    text
}

/// The same for programs, schema `memmon.profiles/1`.
pub fn list_json(profiles: &[Profile]) -> String {
    let list: Vec<_> = profiles
        .iter()
        .map(|profile| {
            let pools: Vec<_> = profile
                .pools
                .iter()
                .map(|(number, pool)| {
                    json!({"number": number, "name": pool.name, "charged": pool.charged})
                })
                .collect();
            let libraries: Vec<_> = profile
                .libraries
                .iter()
                .map(|library| {
                    json!({
                        "names": library.names,
                        "build_ids": library.build_ids,
                        "probes": library.probes.len(),
                    })
                })
                .collect();
            json!({
                "name": profile.name,
                "family": profile.family,
                "layer": profile.layer,
                "above": profile.above,
                "passes": profile.passes,
                "opt_in": profile.opt_in,
                "status": profile.status,
                "tested": profile.tested,
                "resolver": profile.resolver,
                "pools": pools,
                "libraries": libraries,
                "built_in": profile.is_built_in(),
                "file": profile.file(),
            })
        })
        .collect();
    format!(
        "{:#}\n",
        json!({"schema": "memmon.profiles/1", "profiles": list})
    )
}

/// When it is looked for: an opt-in runtime that the user gave no file of has to be named.
fn looked_for(profile: &Profile) -> String {
    if profile.is_usual() {
        "always".to_owned()
    } else {
        format!("with --runtime {}", profile.name)
    }
}

/// Errors, one a line, and how many they are.
pub fn errors(errors: &[ProfileError]) -> String {
    let mut text = String::new();
    for error in errors {
        let _ = writeln!(text, "{error}");
    }
    let _ = match errors.len() {
        1 => writeln!(text, "1 error"),
        many => writeln!(text, "{many} errors"),
    };
    text
}

/// What a sound profile amounts to; with `explain`, down to the programs.
pub fn check(profile: &Profile, explain: bool) -> String {
    let mut text = String::new();
    let count: usize = profile
        .libraries
        .iter()
        .map(|library| library.probes.len())
        .sum();
    let _ = writeln!(
        text,
        "{}: sound: runtime \"{}\" (family {}, layer {}), {count} probes",
        profile.file(),
        profile.name,
        profile.family,
        profile.layer,
    );
    let _ = writeln!(text, "pools: {}", pools(profile));
    let resolver = profile.resolver.as_deref().and_then(resolvers::find);
    let sample = resolver.and_then(|resolver| {
        let mut samples = resolver.samples();
        samples
            .pop()
            .map(|(release, constants)| (resolver, release, constants))
    });
    let constants = match sample {
        Some((resolver, release, constants)) => {
            let _ = writeln!(
                text,
                "constants: those of {} {release}, as an example",
                resolver.name
            );
            constants
        }
        None => BTreeMap::new(),
    };
    for (index, library) in profile.libraries.iter().enumerate() {
        let _ = writeln!(text, "\n{}", library.names.join(", "));
        if !library.build_ids.is_empty() {
            let _ = writeln!(text, "  only build ids {}", library.build_ids.join(", "));
        }
        let compiled = match profile.compile(index, &constants, 0) {
            Ok(compiled) => compiled,
            Err(found) => {
                let _ = write!(text, "{}", errors(&found));
                continue;
            }
        };
        for (probe, compiled) in library.probes.iter().zip(compiled) {
            let _ = writeln!(
                text,
                "  {} ({}) at {}{}: {} of {MAX_INSTRS} instructions, {} reads of memory",
                probe.name,
                check::name(probe.action),
                probe.at.name(),
                if probe.optional { ", optional" } else { "" },
                compiled.spec.len,
                reads(&compiled.spec),
            );
            for symbol in &probe.symbols {
                let _ = writeln!(text, "    {}", pattern(symbol));
            }
            if explain {
                let _ = write!(text, "{}", disassemble(&compiled.spec));
            }
        }
        hint(&mut text, &library.probes);
    }
    text
}

/// What is no error, but should be known.
fn hint(text: &mut String, probes: &[Probe]) {
    let at_return = probes.iter().filter(|probe| probe.at == At::Return);
    let names: Vec<&str> = at_return.map(|probe| probe.name.as_str()).collect();
    if !names.is_empty() {
        let _ = writeln!(
            text,
            "  note: {} probe(s) of a return ({}): an exception through one of these functions \
             would end the observed process",
            names.len(),
            names.join(", ")
        );
    }
}

fn libraries(profile: &Profile) -> String {
    let names = profile.libraries.iter().flat_map(|library| &library.names);
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn pools(profile: &Profile) -> String {
    let name = |pool: &super::Pool| {
        if pool.charged {
            pool.name.clone()
        } else {
            format!("{} (not charged)", pool.name)
        }
    };
    profile
        .pools
        .values()
        .map(name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn pattern(symbol: &SymbolPattern) -> String {
    match symbol {
        SymbolPattern::Exact(name) => name.clone(),
        SymbolPattern::Prefix(prefix) => format!("{prefix}…"),
        SymbolPattern::Plt(import) => format!("the library's stub of {import}"),
        SymbolPattern::Constant(name) => format!("at ${name}"),
        SymbolPattern::Address(address) => format!("at {address:#x}"),
    }
}
