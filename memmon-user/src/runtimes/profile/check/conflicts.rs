//! Profiles that would count the same bytes.

use memmon_ebpf::spec::Action;

use crate::runtimes::profile::{
    document::{
        glob,
        schema::{Library, Probe, Profile, SymbolPattern},
    },
    error::{Problem, ProfileError},
};

/// What is wrong between profiles that are in use together: names used twice, and two profiles
/// that would count one byte twice.
pub fn check_set(profiles: &[Profile]) -> Vec<ProfileError> {
    let mut errors = Vec::new();
    for (index, profile) in profiles.iter().enumerate() {
        for earlier in profiles.iter().take(index) {
            let (span, text) = if earlier.name == profile.name {
                let text = format!("the name is taken by the profile in {}", earlier.file());
                (&profile.name_span, text)
            } else if earlier.family == profile.family && earlier.layer == profile.layer {
                let text = format!(
                    "layer {} of family \"{}\" is taken by \"{}\": both would count the same bytes; \
                     give the lower one of the two the lower layer",
                    profile.layer, profile.family, earlier.name
                );
                (&profile.layer_span, text)
            } else if let Some(function) = both_count(earlier, profile) {
                let text = format!(
                    "its `{function}` is counted by \"{}\" of another family already: both would count the same \
                     bytes; make it one family with a layer each, or say which is `above` which",
                    earlier.name
                );
                (&profile.name_span, text)
            } else {
                continue;
            };
            let problem = Problem::Meaning(text);
            errors.push(ProfileError::new(&profile.source, span, &[], problem));
        }
    }
    errors
}

/// A function of one file that both take allocations from, where neither gives way to the other.
fn both_count<'a>(one: &'a Profile, other: &'a Profile) -> Option<&'a str> {
    if one.family == other.family || one.is_above(other) || other.is_above(one) {
        return None;
    }
    let allocates = |probe: &&Probe| {
        matches!(
            probe.action,
            Action::Begin | Action::Alloc | Action::Register
        )
    };
    let functions = |library: &'a Library| {
        let probes = library.probes.iter().filter(allocates);
        probes.flat_map(|probe| &probe.symbols)
    };
    let meet = |one: &Library, other: &Library| {
        one.names.iter().any(|name| {
            let other = &mut other.names.iter();
            other.any(|known| glob::matches(name, known) || glob::matches(known, name))
        })
    };
    one.libraries
        .iter()
        .flat_map(|library| other.libraries.iter().map(move |more| (library, more)))
        .filter(|(library, more)| meet(library, more))
        .find_map(|(library, more)| {
            functions(library).find_map(|symbol| match symbol {
                SymbolPattern::Exact(name) if functions(more).any(|known| known == symbol) => {
                    Some(name.as_str())
                }
                _ => None,
            })
        })
}
