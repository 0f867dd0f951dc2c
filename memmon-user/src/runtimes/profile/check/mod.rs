//! Whether a profile, well-formed as it is, makes sense.

mod conflicts;
mod formulas;
mod life;
mod probes;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Range,
};

use memmon_ebpf::spec::Action;

pub use self::conflicts::check_set;
use self::formulas::formulas;
use crate::runtimes::profile::{
    document::{
        glob,
        schema::{Library, Probe, Profile},
    },
    error::{Errors, Problem, ProfileError, Suggestion},
    expression::OUTPUTS,
    program::compile::with_own,
    resolvers::{self, Resolver},
};

/// Everything that is wrong with one profile.
pub fn check(profile: &Profile) -> Vec<ProfileError> {
    let mut check = Check {
        profile,
        errors: Errors::new(profile.source.clone()),
        resolver: None,
    };
    check.head();
    for library in &profile.libraries {
        check.library(library);
    }
    check.life();
    if check.errors.is_empty() {
        check.compiles();
    }
    check.errors.into_sorted()
}

struct Check<'a> {
    profile: &'a Profile,
    errors: Errors,
    resolver: Option<&'static Resolver>,
}

impl<'a> Check<'a> {
    fn add(&mut self, span: &Range<usize>, path: &[String], text: impl Into<String>) {
        self.errors.add(span, path, Problem::Meaning(text.into()));
    }

    fn head(&mut self) {
        let profile = self.profile;
        if let Some(name) = &profile.resolver {
            self.resolver = resolvers::find(name);
            if self.resolver.is_none() {
                let problem = Problem::Unknown {
                    what: "resolver",
                    name: name.clone(),
                    suggestion: Suggestion::among(name, resolvers::names()),
                };
                self.errors.add(&profile.name_span, &[], problem);
            }
        }
        let path = ["pools".to_owned()];
        let mut names = BTreeSet::new();
        for (number, pool) in &profile.pools {
            let fits = pool.name.starts_with(|c: char| c.is_ascii_uppercase())
                && pool
                    .name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            if !fits {
                let text = format!(
                    "pool {number}: '{}' is no pool name: capital letters, digits and '_', \
                     as in DEVICE, HOST, MANAGED, SHARED",
                    pool.name
                );
                self.add(&profile.pools_span, &path, text);
            }
            if pool.name == "CB" && pool.charged {
                let text = format!(
                    "pool {number}: CB bytes overlap: write {{ name = \"CB\", charged = false }}"
                );
                self.add(&profile.pools_span, &path, text);
            }
            if !names.insert(&pool.name) {
                let (what, name) = ("pool name", pool.name.clone());
                let problem = Problem::Duplicate { what, name };
                self.errors.add(&profile.pools_span, &path, problem);
            }
        }
        if profile.pools.is_empty() {
            self.add(&profile.pools_span, &path, "no pool is named");
        }
        let mut patterns = HashSet::new();
        for (index, library) in profile.libraries.iter().enumerate() {
            let path = [format!("library {}", index + 1), "names".to_owned()];
            if library.names.is_empty() {
                self.add(&library.span, &path, "names no file");
            }
            for (name, span) in library.names.iter().zip(&library.name_spans) {
                if let Some(problem) = glob::problem(name) {
                    self.add(span, &path, format!("'{name}': {problem}"));
                }
                if !patterns.insert((name, &library.build_ids)) {
                    let (what, name) = ("pattern", name.clone());
                    self.errors
                        .add(span, &path, Problem::Duplicate { what, name });
                }
            }
            for id in &library.build_ids {
                let hex = id.chars().all(|c| c.is_ascii_hexdigit());
                if !hex || id.is_empty() || id.len() % 2 == 1 {
                    let path = [format!("library {}", index + 1), "build_ids".to_owned()];
                    let text = format!("'{id}' is no build id: pairs of hexadecimal digits");
                    self.add(&library.span, &path, text);
                }
            }
        }
    }

    fn library(&mut self, library: &'a Library) {
        let mut names = HashSet::new();
        for probe in &library.probes {
            let path = [format!("probe \"{}\"", probe.name)];
            if !names.insert(&probe.name) {
                let (what, name) = ("probe name", probe.name.clone());
                self.errors
                    .add(&probe.span, &[], Problem::Duplicate { what, name });
            }
            self.symbols(probe, &path);
            self.place(probe, &path);
            self.outputs(probe, &path);
            for (field, formula, is_let) in formulas(probe) {
                let mut path = path.to_vec();
                if is_let {
                    path.push("let".into());
                }
                path.push(field.to_owned());
                self.formula(library, probe, &path, formula, &formula.expression);
            }
            if let Some(succeed) = &probe.succeed {
                self.status(&path, succeed, &succeed.expression);
            }
        }
    }

    fn probes(&self) -> impl Iterator<Item = &'a Probe> + use<'a> {
        let profile = self.profile;
        profile.libraries.iter().flat_map(|library| &library.probes)
    }

    /// Compiles everything once, with the constants of releases that the resolver knows.
    fn compiles(&mut self) {
        let none = [("", BTreeMap::new())];
        let samples = match self.resolver {
            Some(resolver) => resolver.samples(),
            None => none.to_vec(),
        };
        for (_, constants) in &samples {
            for library in &self.profile.libraries {
                let constants = with_own(library, constants);
                for probe in &library.probes {
                    if let Err(errors) = self.profile.compile_probe(probe, &constants, 0) {
                        self.errors.append(errors);
                    }
                }
            }
        }
    }
}

/// The name of an action in profiles.
pub fn name(action: Action) -> &'static str {
    Action::ALL
        .iter()
        .find(|(known, _)| *known == action)
        .map_or("", |(_, name)| name)
}

/// The name of an output register in profiles.
pub fn output_name(register: u8) -> &'static str {
    OUTPUTS
        .iter()
        .find(|(_, known)| *known == register)
        .map_or("", |(name, _)| name)
}

fn sets(probe: &Probe, register: u8) -> bool {
    probe
        .outputs
        .get(usize::from(register))
        .is_some_and(Option::is_some)
}
