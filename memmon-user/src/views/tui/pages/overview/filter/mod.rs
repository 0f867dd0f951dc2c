//! Which rows are shown: terms as they are typed, all of which must hold.

mod parse;
mod text;

use self::text::contains;
use super::amount::{Amount, Sums};
use super::rows::{Row, Rows};
use crate::tables::snapshot::{Process, Snapshot};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// Of a process; any of the words will do.
    Process(Field, Vec<String>),
    /// Of the device; any of the words will do.
    Device(Vec<String>),
    Runtime(Vec<String>),
    /// Holds something in one of these pools.
    Pool(Vec<String>),
    Amount(Which, Comparison, u64),
}

/// What is compared with words. Text is looked for in all of it; a command also in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// Pid, user, name and command.
    Any,
    Pid,
    User,
    Command,
    Cgroup,
    State,
    Since,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    /// The device's own memory.
    Main,
    Pool(String),
    Live,
    Allocations,
    Rate,
    Peak,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    More,
    Less,
    AtLeast,
    AtMost,
    Equal,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn takes(&self, row: &Row, rows: &Rows, snapshot: &Snapshot) -> bool {
        let mut terms = self.terms.iter();
        terms.all(|term| term.test.holds(row, rows, snapshot) != term.negated)
    }
}

impl Test {
    fn holds(&self, row: &Row, rows: &Rows, snapshot: &Snapshot) -> bool {
        let any = |words: &[String], is: &dyn Fn(&str) -> bool| words.iter().any(|word| is(word));
        match self {
            Self::Process(field, words) => {
                let process = row.process(snapshot);
                any(words, &|word| field.is(process, word))
            }
            Self::Device(words) => row.usage(snapshot).is_some_and(|usage| {
                let id = usage.device.map(|id| id.to_string());
                let uid = usage.device_uid.as_deref();
                any(words, &|word| {
                    id.as_deref() == Some(word)
                        || uid.is_some_and(|uid| word.len() >= 4 && uid.ends_with(word))
                })
            }),
            Self::Runtime(words) => row
                .usage(snapshot)
                .is_some_and(|usage| any(words, &|word| usage.runtime.eq_ignore_ascii_case(word))),
            Self::Pool(words) => any(words, &|word| {
                // How much is not known may well be something; of a process that is not understood, nothing is.
                let is_something =
                    !matches!(pool(row, rows, word), Amount::Absent | Amount::Known(0));
                is_something && row.place.is_some()
            }),
            Self::Amount(which, comparison, than) => {
                let amount = which.amount(row, rows, &row.sums);
                amount.rank().is_some_and(|it| comparison.holds(it, *than))
            }
        }
    }
}

fn pool(row: &Row, rows: &Rows, name: &str) -> Amount {
    let at = rows
        .pools
        .iter()
        .position(|pool| pool.eq_ignore_ascii_case(name));
    at.map_or(Amount::Absent, |at| rows.cells(row)[at].amount)
}

impl Field {
    fn is(self, process: &Process, word: &str) -> bool {
        let user = || {
            let by_name = process.user.as_deref();
            by_name.is_some_and(|user| user.eq_ignore_ascii_case(word))
                || process.uid.is_some_and(|uid| uid.to_string() == word)
        };
        let command = || {
            contains(&process.comm, word)
                || process.command.iter().any(|part| contains(part, word))
                // Over several words of the command.
                || (word.contains(' ') && contains(&process.command.join(" "), word))
        };
        match self {
            Self::Pid => process.pid.to_string() == word,
            Self::User => user(),
            Self::Command => command(),
            Self::Cgroup => process
                .cgroup
                .as_deref()
                .is_some_and(|it| contains(it, word)),
            Self::State => process.state.eq_ignore_ascii_case(word),
            Self::Since => process.since.eq_ignore_ascii_case(word),
            Self::Any => {
                process.pid.to_string() == word
                    || process
                        .user
                        .as_deref()
                        .is_some_and(|user| contains(user, word))
                    || command()
            }
        }
    }
}

impl Which {
    fn amount(&self, row: &Row, rows: &Rows, sums: &Sums) -> Amount {
        match self {
            Self::Main => sums.main,
            Self::Pool(name) => pool(row, rows, name),
            Self::Live => sums.live,
            Self::Allocations => sums.allocations,
            Self::Rate => sums.rate,
            Self::Peak => sums.peak,
            Self::Failed => sums.failed,
        }
    }
}

impl Comparison {
    fn holds(self, it: u64, than: u64) -> bool {
        match self {
            Self::More => it > than,
            Self::Less => it < than,
            Self::AtLeast => it >= than,
            Self::AtMost => it <= than,
            Self::Equal => it == than,
        }
    }
}

#[cfg(test)]
mod tests;
