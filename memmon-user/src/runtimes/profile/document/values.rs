//! The shapes that a value of the file may have, each checked, each complaint with its place.

use std::{ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::runtimes::profile::error::{Errors, Problem, Source, Suggestion};

pub(super) type Table<'a> = DeTable<'a>;
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

pub(super) struct Reader {
    pub(super) source: Arc<Source>,
    pub(super) errors: Errors,
    pub(super) path: Vec<String>,
}

impl Reader {
    pub(super) fn error(&mut self, span: Range<usize>, problem: Problem) {
        self.errors.add(&span, &self.path, problem);
    }

    /// Does `work` as part of `name`: its errors mention it.
    pub(super) fn within<T>(
        &mut self,
        name: impl Into<String>,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.path.push(name.into());
        let result = work(self);
        self.path.pop();
        result
    }

    pub(super) fn refuse_unknown(&mut self, table: &Table<'_>, known: &[&str]) {
        for (key, _) in table.iter() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let problem = Problem::UnknownField {
                    name: name.to_owned(),
                    suggestion: Suggestion::among(name, known.iter().copied()),
                };
                self.error(key.span(), problem);
            }
        }
    }

    pub(super) fn tables<T>(
        &mut self,
        table: &Table<'_>,
        field: &'static str,
        span: &Range<usize>,
        mut each: impl FnMut(&mut Self, &Value<'_>, usize) -> Option<T>,
    ) -> Vec<T> {
        match find(table, field).map(|value| (value.get_ref(), value.span())) {
            None => {
                self.error(span.clone(), Problem::Missing(field));
                Vec::new()
            }
            Some((DeValue::Array(values), _)) => values
                .iter()
                .enumerate()
                .filter_map(|(number, value)| each(self, value, number))
                .collect(),
            Some((other, span)) => {
                let (found, expected) = (kind(other), "a list of tables, as [[…]]");
                self.within(field, |reader| {
                    reader.error(span, Problem::Type { expected, found });
                });
                Vec::new()
            }
        }
    }

    pub(super) fn table<'v, 'a>(&mut self, value: &'v Value<'a>) -> Option<&'v Table<'a>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        self.wrong(value, "a table")
    }

    pub(super) fn wrong<T>(&mut self, value: &Value<'_>, expected: &'static str) -> Option<T> {
        let found = kind(value.get_ref());
        self.error(value.span(), Problem::Type { expected, found });
        None
    }

    pub(super) fn integer(&mut self, value: &Value<'_>) -> Option<i64> {
        let DeValue::Integer(number) = value.get_ref() else {
            return self.wrong(value, "a whole number");
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Some(number),
            Err(_) => {
                let text = format!("{number} does not fit 64 bits");
                self.error(value.span(), Problem::Meaning(text));
                None
            }
        }
    }

    pub(super) fn text(
        &mut self,
        table: &Table<'_>,
        field: &'static str,
        span: &Range<usize>,
        required: bool,
    ) -> Option<String> {
        let Some(value) = find(table, field) else {
            if required {
                self.error(span.clone(), Problem::Missing(field));
            }
            return None;
        };
        self.within(field, |reader| match value.get_ref() {
            DeValue::String(text) if required && text.trim().is_empty() => {
                reader.error(value.span(), Problem::Meaning("is empty".into()));
                None
            }
            DeValue::String(text) => Some(text.to_string()),
            _ => reader.wrong(value, "a text in quotes"),
        })
    }

    /// A text or a list of texts.
    pub(super) fn texts(&mut self, table: &Table<'_>, field: &str) -> Vec<(String, Range<usize>)> {
        let Some(value) = find(table, field) else {
            return Vec::new();
        };
        let expected = "a text in quotes, or a list of such";
        self.within(field, |reader| match value.get_ref() {
            DeValue::String(text) => vec![(text.to_string(), value.span())],
            DeValue::Array(values) => values
                .iter()
                .filter_map(|value| match value.get_ref() {
                    DeValue::String(text) => Some((text.to_string(), value.span())),
                    _ => reader.wrong(value, expected),
                })
                .collect(),
            _ => reader.wrong(value, expected).unwrap_or_default(),
        })
    }

    pub(super) fn flag(&mut self, table: &Table<'_>, field: &str, default: bool) -> bool {
        let Some(value) = find(table, field) else {
            return default;
        };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return *flag;
        }
        self.within(field, |reader| reader.wrong(value, "true or false"))
            .unwrap_or(default)
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        table: &Table<'_>,
        field: &'static str,
        choices: &[(T, &'static str)],
    ) -> Option<T> {
        let value = find(table, field)?;
        self.within(field, |reader| {
            let DeValue::String(name) = value.get_ref() else {
                return reader.wrong(value, "a text in quotes");
            };
            let found = choices.iter().find(|(_, known)| known == name);
            if found.is_none() {
                let known = choices.iter().map(|(_, known)| *known);
                let problem = Problem::Unknown {
                    what: "value",
                    name: name.to_string(),
                    suggestion: Suggestion::among(name, known),
                };
                reader.error(value.span(), problem);
            }
            found.map(|(choice, _)| *choice)
        })
    }
}

pub(super) fn find<'v, 'a>(table: &'v Table<'a>, field: &str) -> Option<&'v Value<'a>> {
    table
        .iter()
        .find(|(key, _)| key.get_ref().as_ref() == field)
        .map(|(_, value)| value)
}

pub(super) fn span_of(table: &Table<'_>, field: &str) -> Range<usize> {
    find(table, field).map_or(0..0, Spanned::span)
}

pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
