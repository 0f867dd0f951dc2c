//! What `memmon-ebpf profiles` and `memmon-ebpf profiles check FILE` print.

use std::{collections::BTreeMap, fmt::Write as _};

use memmon_ebpf::spec::MAX_INSTRS;

use super::{
    ProfileError, check,
    explain::{disassemble, reads},
    resolvers,
    schema::{At, Probe, Profile, SymbolPattern},
};

/// The runtimes known, one a paragraph.
pub fn list(profiles: &[Profile]) -> String {
    let width = profiles
        .iter()
        .map(|profile| profile.name.chars().count())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for profile in profiles {
        let indent = " ".repeat(width + 2);
        let _ = writeln!(text, "{:width$}  {}", profile.name, profile.status);
        let mut line = |name: &str, value: String| {
            if !value.is_empty() {
                let _ = writeln!(text, "{indent}{name:<10}{value}");
            }
        };
        line("tested", profile.tested.clone());
        line("libraries", libraries(profile));
        line("pools", pools(profile));
        line(
            "counts",
            format!("family {}, layer {}", profile.family, profile.layer),
        );
        line("from", profile.file().to_owned());
    }
    text
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
