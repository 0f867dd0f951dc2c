//! Whatever an expression means, its program computes: random expressions, worked out once from
//! the tree and once by the compiled program.

use std::io;

use memmon_ebpf::spec::op;
use proptest::prelude::*;

use super::super::{
    error::Problem,
    evaluate::{Hit, Outcome, evaluate},
    parse,
};
use crate::target::memory::Memory;

/// Memory in which every address holds something, but for 96 bytes in 1024: longer than what is read at one time, as
/// pages are.
struct Patchy;

impl Patchy {
    fn byte(address: u64) -> Option<u8> {
        (address & 1023 >= 96).then(|| {
            let mixed = address.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed >> 56) as u8
        })
    }
}

impl Memory for Patchy {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = Self::byte(address.wrapping_add(index as u64))
                .ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        }
        Ok(())
    }
}

/// An expression of this test's own: text, and what it means.
#[derive(Clone, Debug)]
enum Tree {
    Number(u64),
    Argument(usize),
    Stack(u64),
    Load(&'static str, Box<Tree>),
    Cast(&'static str, Box<Tree>),
    Binary(&'static str, Box<Tree>, Box<Tree>),
    Call(&'static str, Box<Tree>, Box<Tree>),
    Not(Box<Tree>),
    If(Box<Tree>, Box<Tree>, Box<Tree>),
}

/// How many bits, and whether signed.
fn kind(name: &str) -> (u32, bool) {
    let bits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (
        bits.parse().unwrap(),
        name.starts_with('i') || name.starts_with("signed"),
    )
}

fn widen(value: u64, name: &str) -> u64 {
    match kind(name) {
        (8, false) => u64::from(value as u8),
        (16, false) => u64::from(value as u16),
        (32, false) => u64::from(value as u32),
        (8, true) => i64::from(value as i8) as u64,
        (16, true) => i64::from(value as i16) as u64,
        (32, true) => i64::from(value as i32) as u64,
        _ => value,
    }
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => format!("{number:#x}"),
            Self::Argument(index) => format!("arg{index}"),
            Self::Stack(index) => format!("stack{index}"),
            Self::Load(name, of) | Self::Cast(name, of) => format!("{name}({})", of.text()),
            Self::Binary(sign, a, b) => format!("({} {sign} {})", a.text(), b.text()),
            Self::Call(name, a, b) => format!("{name}({}, {})", a.text(), b.text()),
            Self::Not(of) => format!("!({})", of.text()),
            Self::If(a, b, c) => format!("if({}, {}, {})", a.text(), b.text(), c.text()),
        }
    }

    /// The value, or nothing where some part of it cannot be had. Parts that the answer does not
    /// depend on count too, unless it is known beforehand that it does not: programs do not jump.
    fn value(&self, hit: &Hit) -> Option<u64> {
        let load = |address: u64, bytes: u32| {
            let mut buffer = [0; 8];
            let room = &mut buffer[..bytes as usize];
            Patchy.read(address, room).ok()?;
            Some(u64::from_le_bytes(buffer))
        };
        Some(match self {
            Self::Number(number) => *number,
            Self::Argument(index) => hit.arguments[*index],
            Self::Stack(index) => load(hit.stack_pointer.wrapping_add(8 + 8 * index), 8)?,
            Self::Load(name, of) => {
                let value = load(of.value(hit)?, kind(name).0 / 8)?;
                widen(value, name)
            }
            Self::Cast(name, of) => widen(of.value(hit)?, name),
            Self::Not(of) => u64::from(of.value(hit)? == 0),
            Self::If(condition, yes, no) => match condition.fixed() {
                Some(0) => no.value(hit)?,
                Some(_) => yes.value(hit)?,
                None => {
                    let condition = condition.value(hit)?;
                    let (yes, no) = (yes.value(hit)?, no.value(hit)?);
                    if condition != 0 { yes } else { no }
                }
            },
            Self::Binary(sign @ ("&&" | "||"), a, b) => {
                let skip = |left: u64| (*sign == "&&") == (left == 0);
                if a.fixed().is_some_and(skip) {
                    return Some(u64::from(*sign == "||"));
                }
                let (a, b) = (a.value(hit)? != 0, b.value(hit)? != 0);
                u64::from(if *sign == "&&" { a && b } else { a || b })
            }
            Self::Binary(sign, a, b) | Self::Call(sign, a, b) => {
                let (a, b) = (a.value(hit)?, b.value(hit)?);
                match *sign {
                    "+" => a.wrapping_add(b),
                    "-" => a.wrapping_sub(b),
                    "*" => a.wrapping_mul(b),
                    "/" => a.checked_div(b)?,
                    "&" => a & b,
                    "|" => a | b,
                    "<<" => a << (b % 64),
                    ">>" => a >> (b % 64),
                    "==" => u64::from(a == b),
                    "!=" => u64::from(a != b),
                    "<" => u64::from(a < b),
                    "<=" => u64::from(a <= b),
                    ">" => u64::from(a > b),
                    ">=" => u64::from(a >= b),
                    "bit" => (a >> (b % 64)) & 1,
                    "ceil_div" => a.wrapping_add(b.wrapping_sub(1)).checked_div(b)?,
                    "align_up" => a
                        .wrapping_add(b.wrapping_sub(1))
                        .checked_div(b)?
                        .wrapping_mul(b),
                    _ => unreachable!(),
                }
            }
        })
    }

    /// The value where it depends on nothing.
    fn fixed(&self) -> Option<u64> {
        match self {
            Self::Argument(_) | Self::Stack(_) | Self::Load(..) => None,
            Self::Number(number) => Some(*number),
            Self::Cast(_, of) | Self::Not(of) => {
                of.fixed()?;
                self.value(&Hit::default())
            }
            Self::If(condition, yes, no) => match condition.fixed()? {
                0 => no.fixed(),
                _ => yes.fixed(),
            },
            Self::Binary(sign @ ("&&" | "||"), a, b) => {
                let left = a.fixed()?;
                if (*sign == "&&") == (left == 0) {
                    return Some(u64::from(*sign == "||"));
                }
                b.fixed().map(|right| u64::from(right != 0))
            }
            Self::Binary(_, a, b) | Self::Call(_, a, b) => {
                a.fixed()?;
                b.fixed()?;
                self.value(&Hit::default())
            }
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (0_u64..70).prop_map(Tree::Number),
        any::<u64>().prop_map(Tree::Number),
        (0_usize..6).prop_map(Tree::Argument),
        (0_usize..2).prop_map(Tree::Argument),
        (0_u64..8).prop_map(Tree::Stack),
    ];
    leaf.prop_recursive(6, 40, 3, |inner| {
        let boxed = inner.prop_map(Box::new).boxed();
        let load =
            prop::sample::select(&["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"][..]);
        let cast = prop::sample::select(
            &["low8", "low16", "low32", "signed8", "signed16", "signed32"][..],
        );
        let sign = prop::sample::select(
            &[
                "+", "-", "*", "/", "&", "|", "<<", ">>", "==", "!=", "<", "<=", ">", ">=", "&&",
                "||", "+", "-",
            ][..],
        );
        let name = prop::sample::select(&["ceil_div", "align_up", "bit"][..]);
        prop_oneof![
            (load, boxed.clone()).prop_map(|(name, of)| Tree::Load(name, of)),
            (cast, boxed.clone()).prop_map(|(name, of)| Tree::Cast(name, of)),
            boxed.clone().prop_map(Tree::Not),
            (sign, boxed.clone(), boxed.clone()).prop_map(|(sign, a, b)| Tree::Binary(sign, a, b)),
            (name, boxed.clone(), boxed.clone()).prop_map(|(name, a, b)| Tree::Call(name, a, b)),
            (boxed.clone(), boxed.clone(), boxed).prop_map(|(a, b, c)| Tree::If(a, b, c)),
        ]
    })
}

fn hit() -> impl Strategy<Value = Hit> {
    let word = prop_oneof![0_u64..64, any::<u64>(), Just(0), Just(u64::MAX)];
    (prop::array::uniform6(word), any::<u64>()).prop_map(|(arguments, stack_pointer)| Hit {
        arguments,
        stack_pointer,
        ..Hit::default()
    })
}

const HEAD: &str = "schema = 1\nname = \"a\"\nfamily = \"a\"\n[pools]\n0 = \"DEVICE\"\n\
                    [[library]]\nnames = [\"liba.so\"]\n[[library.probe]]\nname = \"p\"\n\
                    symbol = \"a\"\naction = \"alloc\"\npool = 0\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn programs_compute_what_expressions_mean(
        fields in prop::collection::vec(tree(), 1..4),
        require in proptest::option::of(tree()),
        hit in hit(),
    ) {
        let names = ["requested", "key", "address"];
        let mut text = HEAD.to_owned();
        for (name, tree) in names.iter().zip(&fields) {
            text += &format!("{name} = \"{}\"\n", tree.text());
        }
        if let Some(require) = &require {
            text += &format!("require = \"{}\"\n", require.text());
        }
        let profile = match parse("random.toml", &text) {
            Ok(profile) => profile,
            Err(errors) => {
                // The only things that can be wrong with such expressions.
                for error in errors {
                    let fine = match &error.problem {
                        Problem::TooLong { .. } | Problem::TooManyRegisters => true,
                        Problem::Expression(text) => text == "divides by zero",
                        _ => false,
                    };
                    prop_assert!(fine, "{error}\n{text}");
                }
                return Ok(());
            }
        };
        let probes = profile.compile(0, &Default::default(), 0).unwrap();
        let spec = &probes[0].spec;
        for instr in &spec.code[..usize::from(spec.len)] {
            // What is not set is 0.
            let writes = !matches!(instr.op, op::REQUIRE | op::SUCCEED | op::BLOCK);
            prop_assert!(!writes || instr.dst >= 8 || spec.outputs & (1 << instr.dst) != 0);
        }
        let outcome = evaluate(spec, &hit, &Patchy);
        let values: Option<Vec<u64>> = fields.iter().map(|tree| tree.value(&hit)).collect();
        let expected = match (require.map(|tree| tree.value(&hit)), values) {
            (Some(None), _) => Outcome::Fault,
            (Some(Some(0)), _) => Outcome::None,
            (_, None) => Outcome::Fault,
            (_, Some(values)) => {
                let at = |index: usize| values.get(index).copied().unwrap_or_default();
                Outcome::Event {
                    outputs: [at(1), 0, 0, at(0), at(0), 0, at(2), 0],
                    mask: [0b1_1100, 0b1_1101, 0b101_1101][values.len() - 1],
                }
            }
        };
        prop_assert_eq!(outcome, expected, "{}\n{}", text, super::super::disassemble(spec));
    }
}

#[test]
fn equal_parts_are_read_once() {
    let text = format!(
        "{HEAD}requested = \"u64(u64(arg0) + 8)\"\nkey = \"u64(u64(arg0) + 4 + 4) + 1\"\n\
         address = \"u64(8 + u64(arg0))\"\n"
    );
    let profile = parse("shared.toml", &text).unwrap();
    let probes = profile.compile(0, &Default::default(), 0).unwrap();
    assert_eq!(super::explain::reads(&probes[0].spec), 2);
}

/// More values at one time than there are registers for them: outputs that are not there yet
/// lend theirs, and beyond that it is an error.
#[test]
fn outputs_lend_their_registers_until_they_are_there() {
    let with = |count: u64| {
        let parts: Vec<String> = (0..count)
            .map(|index| format!("u8(arg0 + {index})"))
            .collect();
        let (sum, mixed) = (parts.join(" + "), parts.join(" | "));
        let text = format!("{HEAD}key = \"{sum}\"\naux = \"{mixed}\"\nrequested = \"arg1\"\n");
        parse("many.toml", &text)
    };
    let profile = with(8).unwrap();
    let probes = profile.compile(0, &Default::default(), 0).unwrap();
    let hit = Hit {
        arguments: [0x1000_0100, 77, 0, 0, 0, 0],
        ..Hit::default()
    };
    let bytes: Vec<u64> = (0..8)
        .map(|index| u64::from(Patchy::byte(hit.arguments[0] + index).unwrap()))
        .collect();
    let outputs = [
        bytes.iter().sum(),
        0,
        0,
        77,
        77,
        0,
        0,
        bytes.iter().fold(0, |all, byte| all | byte),
    ];
    let mask = 0b1001_1101;
    let outcome = evaluate(&probes[0].spec, &hit, &Patchy);
    assert_eq!(outcome, Outcome::Event { outputs, mask });
    let errors = with(9).unwrap_err();
    assert_eq!(errors[0].problem, Problem::TooManyRegisters);
}
