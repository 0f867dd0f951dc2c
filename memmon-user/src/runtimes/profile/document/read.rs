//! TOML text → [`Profile`], with every error of the file in one run.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use memmon_ebpf::spec::{Action, reg};
use toml::de::{DeTable, DeValue};

use super::{
    schema::{At, Formula, Library, Pool, Probe, Profile, SCHEMA, SymbolPattern},
    values::{Reader, Table, Value, find, kind, span_of},
};
use crate::runtimes::profile::{
    error::{Errors, Problem, ProfileError, Source},
    expression::{self, Expression, Node, OUTPUTS},
};

/// What is remembered, in place of `requested`.
const VALUE: &str = "value";
/// How often a probe may stand at one function.
const MAX_REPEAT: i64 = 16;

/// Reads a profile; its meaning is checked elsewhere.
pub fn read(source: Arc<Source>) -> Result<Profile, Vec<ProfileError>> {
    let document = match DeTable::parse(&source.text) {
        Ok(document) => document,
        Err(error) => {
            let problem = Problem::Syntax(error.message().trim().replace('\n', "; "));
            let span = error.span().unwrap_or(0..0);
            return Err(vec![ProfileError::new(&source, &span, &[], problem)]);
        }
    };
    let mut reader = Reader {
        source: source.clone(),
        errors: Errors::new(source.clone()),
        path: Vec::new(),
    };
    let profile = reader.profile(document.get_ref());
    match profile {
        Some(profile) if reader.errors.is_empty() => Ok(profile),
        _ => Err(reader.errors.into_sorted()),
    }
}

impl Reader {
    fn profile(&mut self, table: &Table<'_>) -> Option<Profile> {
        // Of another schema nothing else can be judged.
        match find(table, "schema") {
            None => {
                self.error(0..0, Problem::Missing("schema"));
                return None;
            }
            Some(value) => {
                let found = self.within("schema", |reader| reader.integer(value))?;
                if found != SCHEMA {
                    let known = SCHEMA;
                    self.error(value.span(), Problem::Schema { found, known });
                    return None;
                }
            }
        }
        self.refuse_unknown(
            table,
            &[
                "schema", "name", "family", "layer", "above", "passes", "opt_in", "resolver",
                "status", "tested", "pools", "library",
            ],
        );
        let name = self.text(table, "name", &(0..0), true);
        let family = self.text(table, "family", &(0..0), true);
        let layer = match find(table, "layer") {
            None => Some(0),
            Some(value) => self.within("layer", |reader| {
                let number = reader.integer(value)?;
                let layer = u8::try_from(number).ok();
                if layer.is_none() {
                    let text = format!("{number} is no layer: 0 is the lowest, 255 the highest");
                    reader.error(value.span(), Problem::Meaning(text));
                }
                layer
            }),
        };
        let above = self.texts(table, "above");
        let above = above.into_iter().map(|(family, _)| family).collect();
        let opt_in = self.flag(table, "opt_in", false);
        let resolver = self.text(table, "resolver", &(0..0), false);
        let status = self.text(table, "status", &(0..0), false);
        let tested = self.text(table, "tested", &(0..0), false);
        let pools = self.pools(table);
        let libraries = self.tables(table, "library", &(0..0), Self::library);
        Some(Profile {
            name: name?,
            family: family?,
            layer: layer?,
            above,
            passes: self.flag(table, "passes", false),
            opt_in,
            resolver,
            status: status.unwrap_or_else(|| "untested".into()),
            tested: tested.unwrap_or_default(),
            pools: pools?,
            libraries,
            source: self.source.clone(),
            name_span: span_of(table, "name"),
            layer_span: if find(table, "layer").is_some() {
                span_of(table, "layer")
            } else {
                span_of(table, "name")
            },
            pools_span: span_of(table, "pools"),
        })
    }

    fn pools(&mut self, table: &Table<'_>) -> Option<BTreeMap<u32, Pool>> {
        let Some(value) = find(table, "pools") else {
            self.error(0..0, Problem::Missing("pools"));
            return None;
        };
        self.within("pools", |reader| {
            let mut pools = BTreeMap::new();
            for (key, value) in reader.table(value)?.iter() {
                let Some(number) = whole(key.get_ref()) else {
                    let text = format!("'{}' is no pool number", key.get_ref());
                    reader.error(key.span(), Problem::Meaning(text));
                    continue;
                };
                let pool = reader.within(number.to_string(), |reader| reader.pool(value));
                if let Some(pool) = pool
                    && pools.insert(number, pool).is_some()
                {
                    let name = number.to_string();
                    let what = "pool number";
                    reader.error(key.span(), Problem::Duplicate { what, name });
                }
            }
            Some(pools)
        })
    }

    fn pool(&mut self, value: &Value<'_>) -> Option<Pool> {
        if let DeValue::String(name) = value.get_ref() {
            return Some(Pool {
                name: name.to_string(),
                charged: true,
            });
        }
        let table = self.table(value)?;
        self.refuse_unknown(table, &["name", "charged"]);
        let name = self.text(table, "name", &value.span(), true);
        let charged = self.flag(table, "charged", true);
        Some(Pool {
            name: name?,
            charged,
        })
    }

    fn library(&mut self, value: &Value<'_>, number: usize) -> Option<Library> {
        let table = self.table(value)?;
        let span = value.span();
        let throws = self.flag(table, "throws", true);
        let (names, build_ids, constants) =
            self.within(format!("library {}", number + 1), |reader| {
                reader.refuse_unknown(
                    table,
                    &["names", "build_ids", "throws", "constants", "probe"],
                );
                if find(table, "names").is_none() {
                    reader.error(span.clone(), Problem::Missing("names"));
                }
                (
                    reader.texts(table, "names"),
                    reader.texts(table, "build_ids"),
                    reader.constants(table),
                )
            });
        let probes = self.tables(table, "probe", &span, |reader, value, number| {
            reader.probe(value, number, throws)
        });
        let probes = probes.into_iter().flatten().collect();
        let (names, name_spans) = names.into_iter().unzip();
        Some(Library {
            names,
            name_spans,
            build_ids: build_ids
                .into_iter()
                .map(|(id, _)| id.to_ascii_lowercase())
                .collect(),
            throws,
            constants,
            probes,
            span,
        })
    }

    fn constants(&mut self, table: &Table<'_>) -> BTreeMap<String, i64> {
        let Some(value) = find(table, "constants") else {
            return BTreeMap::new();
        };
        self.within("constants", |reader| {
            let mut constants = BTreeMap::new();
            for (key, value) in reader
                .table(value)
                .into_iter()
                .flat_map(|table| table.iter())
            {
                let number = reader.within(key.get_ref().to_string(), |reader| {
                    if !expression::is_name(key.get_ref()) {
                        let text = "is no name: letters, digits and '_'".to_owned();
                        reader.error(key.span(), Problem::Meaning(text));
                    }
                    reader.integer(value)
                });
                if let Some(number) = number {
                    constants.insert(key.get_ref().to_string(), number);
                }
            }
            constants
        })
    }

    /// As often as it stands there.
    fn probe(&mut self, value: &Value<'_>, number: usize, throws: bool) -> Option<Vec<Probe>> {
        let table = self.table(value)?;
        let given = find(table, "name").and_then(|name| name.get_ref().as_str());
        let label = match given {
            Some(name) => format!("probe \"{name}\""),
            None => format!("probe {}", number + 1),
        };
        self.within(label, |reader| {
            let probe = reader.probe_fields(table, &value.span(), throws)?;
            let Some(times) = find(table, "repeat") else {
                return Some(vec![probe]);
            };
            let times = reader.within("repeat", |reader| {
                let number = reader.integer(times)?;
                let fits = (1..=MAX_REPEAT).contains(&number);
                if !fits {
                    let text = format!("{number} times: 1 to {MAX_REPEAT} it may be");
                    reader.error(times.span(), Problem::Meaning(text));
                }
                fits.then_some(number)
            })?;
            let each = |index| Probe {
                name: format!("{} {index}", probe.name),
                index: Some(index),
                ..probe.clone()
            };
            Some((0..times).map(each).collect())
        })
    }

    fn probe_fields(
        &mut self,
        table: &Table<'_>,
        span: &Range<usize>,
        throws: bool,
    ) -> Option<Probe> {
        let mut known = vec![
            "name",
            "symbol",
            "prefix",
            "plt",
            "location",
            "repeat",
            "optional",
            "at",
            "throws",
            "action",
            "starts_process",
            "known_only",
            "require",
            "succeed",
            "error",
            "let",
            VALUE,
        ];
        known.extend(OUTPUTS.map(|(name, _)| name));
        self.refuse_unknown(table, &known);

        let name = self.text(table, "name", span, true);
        let mut symbols = Vec::new();
        let mut symbol_spans = Vec::new();
        for (field, pattern) in [
            (
                "symbol",
                SymbolPattern::Exact as fn(String) -> SymbolPattern,
            ),
            ("prefix", SymbolPattern::Prefix),
            ("plt", SymbolPattern::Plt),
        ] {
            for (text, span) in self.texts(table, field) {
                symbols.push(pattern(text));
                symbol_spans.push(span);
            }
        }
        for (text, span) in self.texts(table, "location") {
            match text.strip_prefix('$') {
                Some(name) => {
                    symbols.push(SymbolPattern::Constant(name.to_owned()));
                    symbol_spans.push(span);
                }
                None => {
                    let text = format!("location: '{text}' is no `$constant` of a resolver");
                    self.error(span, Problem::Meaning(text));
                }
            }
        }
        let action = self.choice(table, "action", &Action::ALL);
        if find(table, "action").is_none() {
            self.error(span.clone(), Problem::Missing("action"));
        }
        let at = match find(table, "at") {
            Some(_) => self.choice(table, "at", &At::ALL),
            None => Some(At::Entry),
        };
        let mut outputs: [Option<Formula>; 8] = Default::default();
        for ((field, _), output) in OUTPUTS.iter().zip(outputs.iter_mut()) {
            *output = self.formula(table, field);
        }
        if action.is_some_and(Action::remembers)
            && let Some(value) = outputs.get_mut(usize::from(reg::VALUE))
        {
            if let Some(requested) = value {
                let text = "requested: nothing is allocated here: `value`".to_owned();
                self.error(requested.span.clone(), Problem::Meaning(text));
            }
            *value = self.formula(table, VALUE);
        } else if let Some(value) = find(table, VALUE) {
            let text = "value: means nothing where nothing is remembered".to_owned();
            self.error(value.span(), Problem::Meaning(text));
        }
        Some(Probe {
            name: name?,
            action: action?,
            at: at?,
            symbols,
            optional: self.flag(table, "optional", false),
            throws: self.flag(table, "throws", throws),
            starts_process: self.flag(table, "starts_process", false),
            known_only: self.flag(table, "known_only", false),
            index: None,
            require: self.formula(table, "require"),
            succeed: self.formula(table, "succeed"),
            error: self.formula(table, "error"),
            lets: self.lets(table),
            outputs,
            span: span.clone(),
            at_span: if find(table, "at").is_some() {
                span_of(table, "at")
            } else {
                span.clone()
            },
            symbol_spans,
        })
    }

    fn lets(&mut self, table: &Table<'_>) -> BTreeMap<String, Formula> {
        let Some(value) = find(table, "let") else {
            return BTreeMap::new();
        };
        let mut lets = BTreeMap::new();
        let Some(table) = self.within("let", |reader| reader.table(value)) else {
            return lets;
        };
        for (key, _) in table.iter() {
            let name = key.get_ref().as_ref();
            if !expression::is_name(name) {
                let text = format!("let '{name}' is no name: letters, digits and '_'");
                self.error(key.span(), Problem::Meaning(text));
            } else if expression::is_reserved(name) {
                let text = format!("let '{name}' would hide what is built in: choose another name");
                self.error(key.span(), Problem::Meaning(text));
            }
            if let Some(formula) = self.within("let", |reader| reader.formula(table, name)) {
                lets.insert(name.to_owned(), formula);
            }
        }
        lets
    }

    fn formula(&mut self, table: &Table<'_>, field: &str) -> Option<Formula> {
        let value = find(table, field)?;
        let span = value.span();
        self.within(field, |reader| match value.get_ref() {
            DeValue::Integer(_) => {
                let number = reader.integer(value)?;
                let text = reader.source.text.get(span.clone()).unwrap_or_default();
                Some(Formula {
                    text: text.to_owned(),
                    expression: Expression {
                        node: Node::Number(number.cast_unsigned()),
                        span: 0..text.len(),
                    },
                    base: Some(span.start),
                    span,
                })
            }
            DeValue::String(text) => {
                let literal = reader.source.text.get(span.clone()).unwrap_or_default();
                let base = literal.find(text.as_ref()).map(|at| span.start + at);
                match expression::parse(text) {
                    Ok(expression) => Some(Formula {
                        text: text.to_string(),
                        expression,
                        span,
                        base,
                    }),
                    Err(error) => {
                        let at = base.map_or(span.clone(), |base| {
                            base + error.span.start..base + error.span.end
                        });
                        reader.error(at, error.problem);
                        None
                    }
                }
            }
            other => {
                let found = kind(other);
                let expected = "an expression in quotes, or a whole number";
                reader.error(span, Problem::Type { expected, found });
                None
            }
        })
    }
}

/// A pool number: decimal, or hexadecimal after `0x`.
fn whole(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
