//! Whether a profile, well-formed as it is, makes sense.

mod conflicts;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Range,
};

use memmon_ebpf::spec::{Action, reg, width};

pub use self::conflicts::check_set;
use crate::runtimes::profile::{
    document::{
        glob,
        schema::{At, Formula, Library, Probe, Profile, SymbolPattern},
    },
    error::{Errors, Problem, ProfileError, Suggestion},
    expression::{Expression, Node, OUTPUTS},
    program::{
        compile::{INDEX, with_own},
        lower,
    },
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

    fn symbols(&mut self, probe: &Probe, path: &[String]) {
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

    fn place(&mut self, probe: &Probe, path: &[String]) {
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

    fn outputs(&mut self, probe: &Probe, path: &[String]) {
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

    /// What every part of an expression must hold to, in branches not taken too.
    fn formula(
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
    fn status(&mut self, path: &[String], formula: &Formula, expression: &Expression) {
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

    fn probes(&self) -> impl Iterator<Item = &'a Probe> + use<'a> {
        let profile = self.profile;
        profile.libraries.iter().flat_map(|library| &library.probes)
    }

    fn begins(&self) -> impl Iterator<Item = &'a Probe> + use<'a> {
        self.probes().filter(|probe| probe.action == Action::Begin)
    }

    /// What begins must be able to end.
    fn life(&mut self) {
        let first = |action: Action| self.probes().find(|probe| probe.action == action);
        let (begin, commit) = (first(Action::Begin), first(Action::Commit));
        let (fail, free) = (first(Action::Fail), first(Action::Free));
        let alloc = first(Action::Alloc);
        let mut found: Vec<(&Probe, String)> = Vec::new();
        if let Some(begin) = begin
            && commit.is_none()
        {
            found.push((begin, "a `begin` without any `commit` never counts".into()));
        }
        for (end, name) in [(commit, "commit"), (fail, "fail")] {
            if let Some(end) = end
                && begin.is_none()
            {
                found.push((end, format!("a `{name}` without any `begin` never counts")));
            }
        }
        let release = first(Action::Release);
        if let Some(freed) = first(Action::Freed)
            && free.is_none()
            && release.is_none()
        {
            found.push((freed, "a `freed` without any `free` undoes nothing".into()));
        }
        if let Some(free) = free.or(release) {
            if commit.is_none() && alloc.is_none() {
                let text = format!(
                    "a `{}` without any allocation frees nothing",
                    name(free.action)
                );
                found.push((free, text));
            }
            let begin_has_key = self.begins().any(|begin| sets(begin, reg::KEY));
            for probe in self.probes() {
                let lacks = match probe.action {
                    Action::Alloc => !sets(probe, reg::KEY),
                    Action::Commit => !sets(probe, reg::KEY) && !begin_has_key,
                    _ => false,
                };
                if lacks {
                    let text = format!("without `key` \"{}\" could never free it", free.name);
                    found.push((probe, text));
                }
            }
        }
        for probe in self.probes() {
            let lacks = match probe.action {
                Action::Alloc => !sets(probe, reg::REQUESTED),
                Action::Commit => {
                    !sets(probe, reg::REQUESTED)
                        && !self.begins().any(|begin| sets(begin, reg::REQUESTED))
                }
                _ => false,
            };
            if lacks {
                found.push((probe, "needs `requested`: how many bytes is it?".into()));
            }
        }
        for (probe, text) in found {
            let path = [format!("probe \"{}\"", probe.name)];
            self.add(&probe.span, &path, text);
        }
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

const ALL: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

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

/// All formulas of a probe, with their field, and whether that is a name in `let`.
fn formulas(probe: &Probe) -> Vec<(&str, &Formula, bool)> {
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
