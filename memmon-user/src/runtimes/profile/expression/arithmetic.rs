//! What each arithmetic operation of the interpreter means, to the bit. Constant folding and the
//! reference evaluator both use it; the BPF interpreter must agree with it.

use memmon_ebpf::spec::{op, width};

/// The result, or nothing where the operation fails the probe (a zero divisor). Not an operation
/// of two operands: nothing either.
pub fn binary(operation: u8, a: u64, b: u64) -> Option<u64> {
    Some(match operation {
        op::ADD => a.wrapping_add(b),
        op::SUB => a.wrapping_sub(b),
        op::MUL => a.wrapping_mul(b),
        op::DIV => a.checked_div(b)?,
        op::DIV_CEIL => ceil(a, b)?,
        op::ALIGN_UP => ceil(a, b)?.wrapping_mul(b),
        op::AND => a & b,
        op::OR => a | b,
        // As the processor and BPF do it: only the low six bits of the distance count.
        op::SHL => a.wrapping_shl((b & 63) as u32),
        op::SHR => a.wrapping_shr((b & 63) as u32),
        op::EQ => u64::from(a == b),
        op::LT => u64::from(a < b),
        _ => return None,
    })
}

fn ceil(a: u64, b: u64) -> Option<u64> {
    a.wrapping_add(b.wrapping_sub(1)).checked_div(b)
}

/// `value` narrowed to a width of [`width`], then widened again.
pub fn narrow(value: u64, to: u8) -> u64 {
    let bits = u32::from(to & !width::SIGNED).wrapping_mul(8);
    if bits == 0 || bits >= 64 {
        return value;
    }
    let unused = 64 - bits;
    if to & width::SIGNED == 0 {
        (value << unused) >> unused
    } else {
        ((value << unused).cast_signed() >> unused).cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_rounds_up_and_refuses_zero() {
        assert_eq!(binary(op::DIV_CEIL, 7, 2), Some(4));
        assert_eq!(binary(op::DIV_CEIL, 8, 2), Some(4));
        assert_eq!(binary(op::DIV_CEIL, u64::MAX, 1), Some(u64::MAX));
        assert_eq!(binary(op::DIV_CEIL, u64::MAX, 2), Some(0), "wraps");
        assert_eq!(binary(op::ALIGN_UP, 33, 32), Some(64));
        assert_eq!(
            binary(op::ALIGN_UP, 100, 24),
            Some(120),
            "not a power of two"
        );
        for operation in [op::DIV, op::DIV_CEIL, op::ALIGN_UP] {
            assert_eq!(binary(operation, 1, 0), None);
        }
    }

    #[test]
    fn narrowing_extends_the_sign_where_asked() {
        assert_eq!(narrow(0x1_ffff_fffe, width::U32), 0xffff_fffe);
        assert_eq!(
            narrow(0x1_ffff_fffe, width::U32 | width::SIGNED),
            u64::MAX - 1
        );
        assert_eq!(narrow(0x7f, width::U8 | width::SIGNED), 0x7f);
        assert_eq!(narrow(u64::MAX, width::U64 | width::SIGNED), u64::MAX);
    }
}
