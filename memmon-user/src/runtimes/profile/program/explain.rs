//! A compiled probe, readable.

use std::fmt::Write as _;

use memmon_ebpf::spec::{Action, Instr, ProbeSpec, flag, op, reg, width};

use crate::runtimes::profile::check::output_name;

/// The program, one instruction a line.
pub fn disassemble(spec: &ProbeSpec) -> String {
    let mut text = String::new();
    for instr in spec.code.iter().take(usize::from(spec.len)) {
        let _ = writeln!(text, "    {}", line(instr, spec.outputs));
    }
    let action = Action::ALL
        .iter()
        .find(|(action, _)| *action as u8 == spec.action)
        .map_or("?", |(_, name)| name);
    let outputs: Vec<&str> = (0..reg::OUTPUTS)
        .filter(|register| spec.outputs & (1 << register) != 0)
        .map(output_name)
        .collect();
    let start = if spec.flags & flag::STARTS_PROCESS != 0 {
        ", where a process's allocator comes to life"
    } else {
        ""
    };
    let _ = writeln!(text, "    {action}({}){start}", outputs.join(", "));
    text
}

/// How many of the program's instructions read the target's memory.
pub fn reads(spec: &ProbeSpec) -> usize {
    spec.code
        .iter()
        .take(usize::from(spec.len))
        .filter(|instr| matches!(instr.op, op::LOAD | op::BLOCK | op::STACK))
        .count()
}

fn line(instr: &Instr, outputs: u8) -> String {
    let name = |register: u8| {
        if register < reg::OUTPUTS && outputs & (1 << register) != 0 {
            output_name(register).to_owned()
        } else {
            format!("r{register}")
        }
    };
    let (dst, a, b, imm) = (name(instr.dst), name(instr.a), name(instr.b), instr.imm);
    let infix = |sign: &str| format!("{dst} = {a} {sign} {b}");
    match instr.op {
        op::ARG => format!("{dst} = arg{imm}"),
        op::STACK if imm == 0 => format!("{dst} = return_address"),
        op::STACK => format!("{dst} = stack{}", imm - 1),
        op::RET => format!("{dst} = ret"),
        op::PENDING => {
            let output = u8::try_from(imm).map_or("?", output_name);
            format!("{dst} = pending.{output}")
        }
        op::CARRIED => {
            let output = u8::try_from(imm).map_or("?", output_name);
            format!("{dst} = carried.{output}")
        }
        op::POSITION => format!("{dst} = position"),
        op::WHOLE => format!("{dst} = whole"),
        op::CURRENT => format!("{dst} = current"),
        op::NOTED => format!("{dst} = noted({a})"),
        op::TRY_LOAD => format!(
            "{dst} = {}({a} {}), or 0",
            wide(instr.b, "u", "i"),
            distance(imm)
        ),
        op::CONST if imm.unsigned_abs() < 10 => format!("{dst} = {imm}"),
        op::CONST => format!("{dst} = {imm:#x}"),
        op::CONST_HIGH => format!("{dst} = low32({dst}) | {imm:#x} << 32"),
        op::BLOCK if imm == 0 => format!("block = {} bytes at {a}", instr.b),
        op::BLOCK => format!("block = {} bytes at {a} {}", instr.b, distance(imm)),
        op::FIELD => {
            let at = i32::from(instr.a) * 8 + imm / 8;
            format!("{dst} = {}(block + {at:#x})", wide(instr.b, "u", "i"))
        }
        op::LOAD if imm == 0 => format!("{dst} = {}({a})", wide(instr.b, "u", "i")),
        op::LOAD => format!("{dst} = {}({a} {})", wide(instr.b, "u", "i"), distance(imm)),
        op::CAST if instr.b == width::U64 => format!("{dst} = {a}"),
        op::CAST => format!("{dst} = {}({a})", wide(instr.b, "low", "signed")),
        op::ADD => infix("+"),
        op::SUB => infix("-"),
        op::MUL => infix("*"),
        op::DIV => infix("/"),
        op::DIV_CEIL => format!("{dst} = ceil_div({a}, {b})"),
        op::ALIGN_UP => format!("{dst} = align_up({a}, {b})"),
        op::AND => infix("&"),
        op::OR => infix("|"),
        op::SHL => infix("<<"),
        op::SHR => infix(">>"),
        op::EQ => infix("=="),
        op::LT => infix("<"),
        op::SELECT => format!("{dst} = if({a}, {b}, {dst})"),
        op::REQUIRE => format!("require {a}"),
        op::SUCCEED => format!("succeed {a}"),
        unknown => format!("? operation {unknown}"),
    }
}

fn distance(imm: i32) -> String {
    let sign = if imm < 0 { '-' } else { '+' };
    format!("{sign} {:#x}", imm.unsigned_abs())
}

fn wide(kind: u8, unsigned: &str, signed: &str) -> String {
    let bits = u32::from(kind & !width::SIGNED) * 8;
    if kind & width::SIGNED == 0 {
        format!("{unsigned}{bits}")
    } else {
        format!("{signed}{bits}")
    }
}
