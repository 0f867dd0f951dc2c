//! The language in which a profile says where a field lies.
//!
//! ```text
//! or     = and { "||" and }
//! and    = compare { "&&" compare }
//! compare= bitor [ ("==" | "!=" | "<" | "<=" | ">" | ">=") bitor ]
//! bitor  = bitand { "|" bitand }
//! bitand = shift { "&" shift }
//! shift  = sum { ("<<" | ">>") sum }
//! sum    = product { ("+" | "-") product }
//! product= unary { ("*" | "/") unary }
//! unary  = "!" unary | primary
//! primary= number | "$" name | name | name "." name | name "(" or { "," or } ")" | "(" or ")"
//! ```
//!
//! Unlike in C, `&` and `|` bind tighter than comparisons. Everything is an unsigned 64-bit
//! number; `+`, `-`, `*` wrap around.

pub(super) mod arithmetic;
mod tokens;

use std::ops::Range;

use memmon_ebpf::spec::{NOTHING, reg, width};

use self::tokens::{Kind, Token, error, tokens};
use crate::runtimes::profile::error::{Problem, Suggestion};

/// How deep an expression may nest.
const MAX_DEPTH: usize = 64;

/// An expression, and where in its text it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub node: Node,
    /// Bytes of the expression's text.
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Number(u64),
    /// An integer argument in a register, 0 to 5.
    Argument(u8),
    /// An argument on the stack, from 0.
    Stack(u8),
    Return,
    ReturnAddress,
    /// What the pending allocation of this thread says of an output register.
    Pending(u8),
    /// What this thread works with.
    Current,
    /// Where the program stands: at the probe.
    Position,
    /// Whether the process has been seen from its start.
    Whole,
    /// What was noted under a key.
    Noted(Box<Expression>),
    /// `$name`: known only once the library is.
    Constant(String),
    /// A name from `let`.
    Name(String),
    /// Reads memory; the width as in [`width`].
    Load(u8, Box<Expression>),
    /// Narrows a value; the width as in [`width`].
    Cast(u8, Box<Expression>),
    Not(Box<Expression>),
    Binary(Binary, Box<Expression>, Box<Expression>),
    If(Box<Expression>, Box<Expression>, Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    CeilDivide,
    AlignUp,
    BitAnd,
    BitOr,
    ShiftLeft,
    ShiftRight,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
    /// Bit `b` of `a`.
    Bit,
}

/// Functions with their number of arguments, for people and for suggestions.
pub const FUNCTIONS: [(&str, usize); 19] = [
    ("u8", 1),
    ("u16", 1),
    ("u32", 1),
    ("u64", 1),
    ("i8", 1),
    ("i16", 1),
    ("i32", 1),
    ("i64", 1),
    ("low8", 1),
    ("low16", 1),
    ("low32", 1),
    ("signed8", 1),
    ("signed16", 1),
    ("signed32", 1),
    ("ceil_div", 2),
    ("align_up", 2),
    ("bit", 2),
    ("if", 3),
    ("noted", 1),
];

/// Values that need no definition.
pub const VALUES: [&str; 20] = [
    "arg0",
    "arg1",
    "arg2",
    "arg3",
    "arg4",
    "arg5",
    "stack0",
    "stack1",
    "stack2",
    "stack3",
    "stack4",
    "stack5",
    "stack6",
    "stack7",
    "ret",
    "return_address",
    "current",
    "nothing",
    "position",
    "whole",
];

/// The outputs of a probe with their registers.
pub const OUTPUTS: [(&str, u8); 8] = [
    ("key", reg::KEY),
    ("owner", reg::OWNER),
    ("pool", reg::POOL),
    ("requested", reg::REQUESTED),
    ("charged", reg::CHARGED),
    ("device", reg::DEVICE),
    ("address", reg::ADDRESS),
    ("aux", reg::AUX),
];

/// Whether a name from `let` would hide something built in.
pub fn is_reserved(name: &str) -> bool {
    VALUES.contains(&name)
        || name == "pending"
        || FUNCTIONS.iter().any(|(function, _)| *function == name)
}

/// Whether `name` can be used as a name at all.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// An error and where in the expression it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub span: Range<usize>,
    pub problem: Problem,
}

/// Reads one expression.
pub fn parse(text: &str) -> Result<Expression, SyntaxError> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens,
        next: 0,
        depth: 0,
        end: text.len(),
    };
    let expression = parser.or()?;
    match parser.peek() {
        None => Ok(expression),
        Some(token) => {
            let what = token.kind.describe();
            Err(parser.unexpected(&format!("unexpected {what} after the expression")))
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    end: usize,
}

type Parsed = Result<Expression, SyntaxError>;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn here(&self) -> Range<usize> {
        self.peek()
            .map_or(self.end..self.end, |token| token.span.clone())
    }

    fn unexpected(&self, text: &str) -> SyntaxError {
        error(self.here(), text.to_owned())
    }

    /// Takes the next token if it is one of these symbols.
    fn take<T: Copy>(&mut self, symbols: &[(&str, T)]) -> Option<T> {
        let Kind::Symbol(found) = self.peek()?.kind else {
            return None;
        };
        let (_, value) = symbols.iter().find(|(symbol, _)| *symbol == found)?;
        self.next += 1;
        Some(*value)
    }

    fn expect(&mut self, symbol: &str, place: &str) -> Result<(), SyntaxError> {
        if self.take(&[(symbol, ())]).is_some() {
            return Ok(());
        }
        let found = self
            .peek()
            .map_or("the end".to_owned(), |token| token.kind.describe());
        Err(self.unexpected(&format!("expected '{symbol}' {place}, found {found}")))
    }

    /// Operators of one level, all binding to the left.
    fn chain(
        &mut self,
        operators: &[(&str, Binary)],
        operand: fn(&mut Self) -> Parsed,
    ) -> Result<Expression, SyntaxError> {
        let mut left = operand(self)?;
        // Each step deepens the tree on its left side.
        let mut steps = 0;
        while let Some(operator) = self.take(operators) {
            steps += 1;
            if steps > MAX_DEPTH {
                return Err(self.unexpected("too many operators in one expression"));
            }
            let right = operand(self)?;
            left = binary(operator, left, right);
        }
        Ok(left)
    }

    fn or(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.unexpected("nested too deep"));
        }
        let result = self.chain(&[("||", Binary::Or)], Self::and);
        self.depth -= 1;
        result
    }

    fn and(&mut self) -> Parsed {
        self.chain(&[("&&", Binary::And)], Self::compare)
    }

    fn compare(&mut self) -> Parsed {
        const OPERATORS: [(&str, Binary); 6] = [
            ("==", Binary::Equal),
            ("!=", Binary::NotEqual),
            ("<=", Binary::LessEqual),
            (">=", Binary::GreaterEqual),
            ("<", Binary::Less),
            (">", Binary::Greater),
        ];
        let left = self.bit_or()?;
        let Some(operator) = self.take(&OPERATORS) else {
            return Ok(left);
        };
        let right = self.bit_or()?;
        let here = self.here();
        if self.take(&OPERATORS).is_some() {
            return Err(error(
                here,
                "comparisons do not chain: join two with '&&'".into(),
            ));
        }
        Ok(binary(operator, left, right))
    }

    fn bit_or(&mut self) -> Parsed {
        self.chain(&[("|", Binary::BitOr)], Self::bit_and)
    }

    fn bit_and(&mut self) -> Parsed {
        self.chain(&[("&", Binary::BitAnd)], Self::shift)
    }

    fn shift(&mut self) -> Parsed {
        self.chain(
            &[("<<", Binary::ShiftLeft), (">>", Binary::ShiftRight)],
            Self::sum,
        )
    }

    fn sum(&mut self) -> Parsed {
        self.chain(
            &[("+", Binary::Add), ("-", Binary::Subtract)],
            Self::product,
        )
    }

    fn product(&mut self) -> Parsed {
        self.chain(
            &[("*", Binary::Multiply), ("/", Binary::Divide)],
            Self::unary,
        )
    }

    fn unary(&mut self) -> Parsed {
        let start = self.here().start;
        let mut nots = 0;
        while self.take(&[("!", ())]).is_some() {
            nots += 1;
            if nots > MAX_DEPTH {
                return Err(self.unexpected("too many '!'"));
            }
        }
        let mut expression = self.primary()?;
        for _ in 0..nots {
            let span = start..expression.span.end;
            expression = Expression {
                node: Node::Not(Box::new(expression)),
                span,
            };
        }
        Ok(expression)
    }

    fn primary(&mut self) -> Parsed {
        let Some(token) = self.peek().cloned() else {
            return Err(self.unexpected("the expression ends where a value should stand"));
        };
        self.next += 1;
        let node = match token.kind {
            Kind::Number(number) => Node::Number(number),
            Kind::Constant(name) => Node::Constant(name),
            Kind::Name(name) => return self.named(&name, token.span),
            Kind::Symbol("(") => {
                let inner = self.or()?;
                let end = self.here().end;
                self.expect(")", "to close '('")?;
                return Ok(Expression {
                    node: inner.node,
                    span: token.span.start..end,
                });
            }
            Kind::Symbol(symbol) => {
                return Err(error(
                    token.span,
                    format!("expected a value, found '{symbol}'"),
                ));
            }
        };
        Ok(Expression {
            node,
            span: token.span,
        })
    }

    /// A value, a function call, or a name from `let`.
    fn named(&mut self, name: &str, span: Range<usize>) -> Parsed {
        if self.take(&[("(", ())]).is_some() {
            return self.call(name, span);
        }
        let start = span.start;
        let node = match name {
            "ret" => Node::Return,
            "return_address" => Node::ReturnAddress,
            "current" => Node::Current,
            "position" => Node::Position,
            "whole" => Node::Whole,
            "nothing" => Node::Number(NOTHING),
            "pending" => return self.pending(start),
            _ => match (indexed(name, "arg", 6), indexed(name, "stack", 8)) {
                (Some(index), _) => Node::Argument(index),
                (_, Some(index)) => Node::Stack(index),
                _ if FUNCTIONS.iter().any(|(function, _)| *function == name) => {
                    return Err(error(span, format!("'{name}' needs arguments: {name}(…)")));
                }
                _ => Node::Name(name.to_owned()),
            },
        };
        Ok(Expression { node, span })
    }

    fn pending(&mut self, start: usize) -> Parsed {
        self.expect(".", "and an output after 'pending'")?;
        let span = self.here();
        let Some(Kind::Name(name)) = self.peek().map(|token| token.kind.clone()) else {
            return Err(self.unexpected("expected an output after 'pending.'"));
        };
        self.next += 1;
        match OUTPUTS.iter().find(|(output, _)| *output == name) {
            Some((_, register)) => Ok(Expression {
                node: Node::Pending(*register),
                span: start..span.end,
            }),
            None => Err(SyntaxError {
                span,
                problem: Problem::Unknown {
                    what: "output",
                    suggestion: Suggestion::among(&name, OUTPUTS.map(|(output, _)| output)),
                    name,
                },
            }),
        }
    }

    fn call(&mut self, name: &str, span: Range<usize>) -> Parsed {
        let Some((_, wanted)) = FUNCTIONS.iter().find(|(function, _)| *function == name) else {
            return Err(SyntaxError {
                span,
                problem: Problem::Unknown {
                    what: "function",
                    name: name.to_owned(),
                    suggestion: Suggestion::among(name, FUNCTIONS.map(|(function, _)| function)),
                },
            });
        };
        let mut arguments = Vec::new();
        loop {
            arguments.push(self.or()?);
            if self.take(&[(",", ())]).is_none() {
                break;
            }
        }
        let whole = span.start..self.here().end;
        self.expect(")", &format!("to close '{name}('"))?;
        let count = arguments.len();
        let node = match <[Expression; 1]>::try_from(arguments) {
            Ok([only]) if *wanted == 1 => unary_call(name, Box::new(only)),
            Ok(_) => None,
            Err(arguments) => many_call(name, arguments),
        };
        match node {
            Some(node) => Ok(Expression { node, span: whole }),
            None => Err(error(
                whole,
                format!("'{name}' takes {wanted} argument(s), not {count}"),
            )),
        }
    }
}

fn binary(operator: Binary, left: Expression, right: Expression) -> Expression {
    let span = left.span.start..right.span.end;
    Expression {
        node: Node::Binary(operator, Box::new(left), Box::new(right)),
        span,
    }
}

fn unary_call(name: &str, of: Box<Expression>) -> Option<Node> {
    if name == "noted" {
        return Some(Node::Noted(of));
    }
    let (load, width) = match name {
        "u8" => (true, width::U8),
        "u16" => (true, width::U16),
        "u32" => (true, width::U32),
        "u64" | "i64" => (true, width::U64),
        "i8" => (true, width::U8 | width::SIGNED),
        "i16" => (true, width::U16 | width::SIGNED),
        "i32" => (true, width::U32 | width::SIGNED),
        "low8" => (false, width::U8),
        "low16" => (false, width::U16),
        "low32" => (false, width::U32),
        "signed8" => (false, width::U8 | width::SIGNED),
        "signed16" => (false, width::U16 | width::SIGNED),
        "signed32" => (false, width::U32 | width::SIGNED),
        _ => return None,
    };
    Some(if load {
        Node::Load(width, of)
    } else {
        Node::Cast(width, of)
    })
}

fn many_call(name: &str, arguments: Vec<Expression>) -> Option<Node> {
    if name == "if" {
        let [condition, yes, no] = <[Expression; 3]>::try_from(arguments).ok()?;
        return Some(Node::If(Box::new(condition), Box::new(yes), Box::new(no)));
    }
    let operator = match name {
        "ceil_div" => Binary::CeilDivide,
        "align_up" => Binary::AlignUp,
        "bit" => Binary::Bit,
        _ => return None,
    };
    let [left, right] = <[Expression; 2]>::try_from(arguments).ok()?;
    Some(Node::Binary(operator, Box::new(left), Box::new(right)))
}

fn indexed(name: &str, prefix: &str, limit: u8) -> Option<u8> {
    let digits = name.strip_prefix(prefix)?;
    if digits.len() != 1 {
        return None;
    }
    digits.parse().ok().filter(|index| *index < limit)
}
