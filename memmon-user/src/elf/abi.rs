//! How functions in such a file are called (System V, x86-64).

use iced_x86::Register;

/// Integer arguments, first to last; the rest is on the stack.
pub const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];
