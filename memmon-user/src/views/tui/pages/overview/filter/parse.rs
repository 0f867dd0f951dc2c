//! Typed text → a filter, or what is wrong with it.

use std::str::FromStr;

use super::{Comparison, Field, Filter, Term, Test, Which};

/// What may stand before a colon.
const FIELDS: &str = "user dev pool pid cmd runtime cgroup state since";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("there is no `{0}:`; there are {FIELDS} (\"quotes\" make it text)")]
    Field(String),
    #[error("`{0}:` wants something after it, such as `{0}:{1}`")]
    Nothing(String, &'static str),
    #[error("`{0}` is no {1}")]
    Value(String, &'static str),
    #[error("`{0}` is no amount; write 512M, 1.5G or a plain number")]
    Amount(String),
    #[error("`!` wants something to leave out, such as `!user:root`")]
    Lonely,
    #[error("a closing \" is missing")]
    Quote,
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let words = words(text)?;
        let terms = words.into_iter().map(|word| term(&word));
        Ok(Self {
            terms: terms.collect::<Result<_, _>>()?,
        })
    }
}

/// A piece of what was typed, between spaces.
#[derive(Debug, Default)]
struct Word {
    text: String,
    /// From here on it was in quotes: signs are letters.
    quoted_from: Option<usize>,
}

fn words(text: &str) -> Result<Vec<Word>, FilterError> {
    let mut words = Vec::new();
    let mut word = Word::default();
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.quoted_from.get_or_insert(word.text.len());
            }
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            letter => word.text.push(letter),
        }
    }
    if quoted {
        return Err(FilterError::Quote);
    }
    words.push(word);
    words.retain(|word| !word.text.is_empty());
    Ok(words)
}

fn term(word: &Word) -> Result<Term, FilterError> {
    let plain = word.quoted_from.unwrap_or(word.text.len());
    let negated = plain > 0 && word.text.starts_with('!');
    let begin = usize::from(negated);
    let text = word.text[begin..].to_lowercase();
    if text.is_empty() {
        return Err(FilterError::Lonely);
    }
    // Signs count only before the first quote.
    let signs = &word.text[begin..plain.max(begin)].to_lowercase();
    let test = match (signs.find(['<', '>', '=']), signs.find(':')) {
        (Some(at), colon) if colon.is_none_or(|colon| colon > at || signs.starts_with("pool:")) => {
            compare(&text, at)?
        }
        (_, Some(at)) if at > 0 && signs[..at].chars().all(|c| c.is_ascii_alphabetic()) => {
            field(&text[..at], &text[at + 1..])?
        }
        _ => Test::Process(Field::Any, vec![text]),
    };
    Ok(Term { negated, test })
}

fn field(name: &str, value: &str) -> Result<Test, FilterError> {
    let values = |example| -> Result<Vec<String>, FilterError> {
        let values: Vec<String> = value
            .split(',')
            .filter(|v| !v.is_empty())
            .map(str::to_owned)
            .collect();
        if values.is_empty() {
            return Err(FilterError::Nothing(name.to_owned(), example));
        }
        Ok(values)
    };
    let numbers = |what| {
        let values = values("0")?;
        match values.iter().find(|value| value.parse::<u64>().is_err()) {
            Some(odd) => Err(FilterError::Value(odd.clone(), what)),
            None => Ok(values),
        }
    };
    let one_of = |known: &[&str], what| {
        let values = values(known.first().copied().map_or("", |_| "…"))?;
        match values.iter().find(|value| !known.contains(&value.as_str())) {
            Some(odd) => Err(FilterError::Value(odd.clone(), what)),
            None => Ok(values),
        }
    };
    Ok(match name {
        "pid" => Test::Process(Field::Pid, numbers("pid: a number is")?),
        "user" | "uid" => Test::Process(Field::User, values("ada")?),
        "cmd" | "command" => Test::Process(Field::Command, values("python")?),
        "cgroup" => Test::Process(Field::Cgroup, values("user.slice")?),
        "state" => Test::Process(
            Field::State,
            one_of(&["running", "exited"], "state: running and exited are")?,
        ),
        "since" => Test::Process(
            Field::Since,
            one_of(
                &["start", "attach", "recovered"],
                "since: start, attach and recovered are",
            )?,
        ),
        "dev" | "device" => Test::Device(numbers("device: an id, or the end of a serial, is")?),
        "runtime" => Test::Runtime(values("tt-metal")?),
        "pool" => Test::Pool(values("L1")?),
        _ => return Err(FilterError::Field(name.to_owned())),
    })
}

/// `>1G`, `live>=100`, `l1<5M`, `pool:l1>5M`.
fn compare(text: &str, at: usize) -> Result<Test, FilterError> {
    let (name, rest) = text.split_at(at);
    let (comparison, value) = match rest.as_bytes() {
        [b'>', b'=', ..] => (Comparison::AtLeast, &rest[2..]),
        [b'<', b'=', ..] => (Comparison::AtMost, &rest[2..]),
        [b'>', ..] => (Comparison::More, &rest[1..]),
        [b'<', ..] => (Comparison::Less, &rest[1..]),
        _ => (Comparison::Equal, rest.trim_start_matches('=')),
    };
    let which = match name {
        "" => Which::Main,
        "live" => Which::Live,
        "allocs" => Which::Allocations,
        "rate" => Which::Rate,
        "peak" => Which::Peak,
        "failed" => Which::Failed,
        name => {
            let pool = name.strip_prefix("pool:").unwrap_or(name);
            if !pool.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || pool.is_empty() {
                return Err(FilterError::Value(
                    name.to_owned(),
                    "amount: live, allocs, rate, peak, failed and pools are",
                ));
            }
            Which::Pool(pool.to_owned())
        }
    };
    let number = amount(value).ok_or_else(|| FilterError::Amount(value.to_owned()))?;
    let unit = if which == Which::Rate { 1000.0 } else { 1.0 };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and `as` saturates"
    )]
    let number = (number * unit) as u64;
    Ok(Test::Amount(which, comparison, number))
}

/// `512m`, `1.5g`, `10`, `3gib`: powers of 1024.
fn amount(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..]
        .trim_end_matches('b')
        .trim_end_matches('i');
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    (number.is_finite() && number >= 0.0).then(|| number * 1024_f64.powi(power))
}
