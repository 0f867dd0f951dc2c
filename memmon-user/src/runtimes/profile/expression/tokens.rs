//! The words that expressions are made of.

use std::ops::Range;

use super::{SyntaxError, is_name};
use crate::runtimes::profile::error::Problem;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number(u64),
    Name(String),
    Constant(String),
    Symbol(&'static str),
}

impl Kind {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Number(number) => format!("number {number}"),
            Self::Name(name) => format!("'{name}'"),
            Self::Constant(name) => format!("'${name}'"),
            Self::Symbol(symbol) => format!("'{symbol}'"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

const SYMBOLS: [&str; 22] = [
    "<<", ">>", "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "&", "|", "!",
    "(", ")", ",", ".", "=",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let word = |from: usize| {
            let tail = rest.get(from..).unwrap_or_default();
            from + tail
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(tail.len())
        };
        let (kind, len) = if first.is_ascii_digit() {
            let len = word(0);
            let literal = rest.get(..len).unwrap_or_default();
            match number(literal) {
                Some(number) => (Kind::Number(number), len),
                None => {
                    return Err(error(
                        at..at + len,
                        format!("'{literal}' is no number of 64 bits"),
                    ));
                }
            }
        } else if first == '$' {
            let len = word(1);
            let name = rest.get(1..len).unwrap_or_default();
            if !is_name(name) {
                return Err(error(at..at + len, "expected a name after '$'".into()));
            }
            (Kind::Constant(name.to_owned()), len)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let len = word(0);
            (
                Kind::Name(rest.get(..len).unwrap_or_default().to_owned()),
                len,
            )
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            if *symbol == "=" {
                return Err(error(at..at + 1, "'=' compares nothing: write '=='".into()));
            }
            (Kind::Symbol(symbol), symbol.len())
        } else {
            return Err(error(
                at..at + first.len_utf8(),
                format!("'{first}' means nothing here"),
            ));
        };
        tokens.push(Token {
            kind,
            span: at..at + len,
        });
        at += len;
    }
    Ok(tokens)
}

fn number(literal: &str) -> Option<u64> {
    let digits = literal.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

pub(super) fn error(span: Range<usize>, text: String) -> SyntaxError {
    SyntaxError {
        span,
        problem: Problem::Expression(text),
    }
}
