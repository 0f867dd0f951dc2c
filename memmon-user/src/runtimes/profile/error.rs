//! What can be wrong with a profile, and where.

use std::{fmt, ops::Range, sync::Arc};

use thiserror::Error;

/// The text of a profile and the name under which errors mention it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub text: String,
    /// It came with this program.
    pub built_in: bool,
}

impl Source {
    /// Line and column, both from 1, of a byte offset. Columns count characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// One thing that is wrong with a profile.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct ProfileError {
    pub file: String,
    /// From 1; 0 where the error concerns the file as a whole.
    pub line: usize,
    pub column: usize,
    /// What the error is about, outermost first: a probe, a field.
    pub path: Vec<String>,
    pub problem: Problem,
}

impl ProfileError {
    pub fn new(source: &Source, span: &Range<usize>, path: &[String], problem: Problem) -> Self {
        let (line, column) = source.position(span.start);
        Self {
            file: source.file.clone(),
            line,
            column,
            path: path.to_vec(),
            problem,
        }
    }

    /// An error about a file as a whole.
    pub fn of_file(file: &str, problem: Problem) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: Vec::new(),
            problem,
        }
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.line > 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        formatter.write_str(": ")?;
        for part in &self.path {
            write!(formatter, "{part}: ")?;
        }
        self.problem.fmt(formatter)
    }
}

/// What is wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("not valid TOML: {0}")]
    Syntax(String),
    #[error("schema {found} is not known to this memmon-ebpf, which reads schema {known}")]
    Schema { found: i64, known: i64 },
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("unknown field `{name}`{suggestion}")]
    UnknownField {
        name: String,
        suggestion: Suggestion,
    },
    #[error("expected {expected}, found {found}")]
    Type {
        expected: &'static str,
        found: &'static str,
    },
    #[error("unknown {what} '{name}'{suggestion}")]
    Unknown {
        what: &'static str,
        name: String,
        suggestion: Suggestion,
    },
    #[error("{what} '{name}' is given twice")]
    Duplicate { what: &'static str, name: String },
    #[error("{0}")]
    Expression(String),
    #[error("{0}")]
    Meaning(String),
    #[error(
        "needs {needed} instructions, and a probe may have {limit}: \
         read fewer fields, or share a long part in `let`"
    )]
    TooLong { needed: usize, limit: usize },
    #[error("needs more values at one time than the interpreter has registers: simplify it")]
    TooManyRegisters,
}

/// The known name nearest to a misspelt one, if any is near.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggestion(pub Option<String>);

impl Suggestion {
    pub fn among<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let limit = 1 + name.chars().count() / 4;
        Self(
            known
                .into_iter()
                .map(|candidate| (distance(name, candidate), candidate))
                .filter(|(distance, _)| *distance <= limit)
                .min()
                .map(|(_, candidate)| candidate.to_owned()),
        )
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(formatter, " (did you mean '{name}'?)"),
            None => Ok(()),
        }
    }
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let width = right.len() + 1;
    let mut before_last: Vec<usize> = vec![usize::MAX / 2; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, r) in right.iter().enumerate() {
            let mut best = (last[j] + usize::from(l != r))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && left[i - 1] == *r && *l == right[j - 1] {
                best = best.min(before_last[j - 1] + 1);
            }
            row[j + 1] = best;
        }
        before_last = last;
        last = row;
    }
    last[width - 1]
}

/// Errors of one profile, collected while it is read and checked.
#[derive(Debug)]
pub struct Errors {
    source: Arc<Source>,
    found: Vec<ProfileError>,
}

impl Errors {
    pub fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            found: Vec::new(),
        }
    }

    pub fn add(&mut self, span: &Range<usize>, path: &[String], problem: Problem) {
        let error = ProfileError::new(&self.source, span, path, problem);
        if !self.found.contains(&error) {
            self.found.push(error);
        }
    }

    pub fn append(&mut self, others: Vec<ProfileError>) {
        for error in others {
            if !self.found.contains(&error) {
                self.found.push(error);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in the order of the file.
    pub fn into_sorted(mut self) -> Vec<ProfileError> {
        self.found.sort_by_key(|error| (error.line, error.column));
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["align_up", "ceil_div", "if"];
        assert_eq!(
            Suggestion::among("algin_up", known).0.as_deref(),
            Some("align_up")
        );
        assert_eq!(Suggestion::among("requested", known).0, None);
        assert_eq!(Suggestion::among("of", known).0.as_deref(), Some("if"));
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source {
            file: "x".into(),
            text: "a\nßb\nc".into(),
            built_in: false,
        };
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(2), (2, 1));
        assert_eq!(source.position(4), (2, 2));
        assert_eq!(source.position(3), (2, 1), "inside a character");
        assert_eq!(source.position(99), (3, 2));
    }
}
