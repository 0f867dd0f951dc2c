//! A probe is data: the program that the interpreter runs when a probe is hit.
//!
//! A [`ProbeSpec`] computes up to eight outputs (which allocation, how many bytes, whose) from the
//! arguments of the probed function, and says what they mean ([`Action`]). There are no jumps, so
//! it always ends; every load is bounded and may fail, and a failed load ends the program with
//! nothing applied.

/// Instructions one probe may have.
pub const MAX_INSTRS: usize = 40;
/// Registers of the interpreter. The first eight are the outputs, see [`reg`].
pub const REGISTERS: usize = 16;
/// Eight-byte words that one [`op::BLOCK`] reads at the most.
pub const BLOCK_WORDS: usize = 10;
/// Probe specs that can be loaded at one time, over all attached libraries.
pub const MAX_SPECS: u32 = 4096;

/// What a probe's outputs mean to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// An allocation is attempted: remembered for this thread until `Commit` or `Fail`.
    Begin = 1,
    /// The allocation of this thread succeeded. Ignored where nothing is pending.
    Commit = 2,
    /// The allocation of this thread failed. Ignored where nothing is pending.
    Fail = 3,
    /// An allocation that needs no second probe.
    Alloc = 4,
    /// The allocation `KEY` ends.
    Free = 5,
    /// Everything that `OWNER` holds ends.
    FreeAll = 6,
    /// An owner (an allocator) comes into being, holding nothing.
    OwnerOpen = 7,
    /// Bytes of `OWNER` that have no key and end only by `FreeAll`.
    Register = 8,
    /// One more reference to the allocation `KEY`.
    Retain = 9,
    /// One reference fewer: the last one ends the allocation.
    Release = 10,
    /// A free of this thread has returned. Where it failed, it is undone.
    Freed = 11,
    /// `VALUE` is remembered under `KEY`, for this process.
    Note = 12,
    /// `VALUE` is what this thread works with from here on.
    SetCurrent = 13,
    /// As `SetCurrent`; what it was before comes back with `PopCurrent`.
    PushCurrent = 14,
    PopCurrent = 15,
    /// Outputs for a probe at the return of the function: remembered for this thread, and no more.
    Carry = 16,
}

impl Action {
    /// Every action, with the name that profiles use.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::Begin, "begin"),
        (Self::Commit, "commit"),
        (Self::Fail, "fail"),
        (Self::Alloc, "alloc"),
        (Self::Free, "free"),
        (Self::FreeAll, "free_all"),
        (Self::OwnerOpen, "owner_open"),
        (Self::Register, "register"),
        (Self::Retain, "retain"),
        (Self::Release, "release"),
        (Self::Freed, "freed"),
        (Self::Note, "note"),
        (Self::SetCurrent, "set_current"),
        (Self::PushCurrent, "push_current"),
        (Self::PopCurrent, "pop_current"),
        (Self::Carry, "carry"),
    ];

    /// Whether it remembers a value, and changes nothing that is counted.
    pub const fn remembers(self) -> bool {
        matches!(
            self,
            Self::Note | Self::SetCurrent | Self::PushCurrent | Self::PopCurrent
        )
    }

    /// Whether it changes what is counted.
    pub const fn counts(self) -> bool {
        !self.remembers() && !matches!(self, Self::Carry)
    }
}

/// The output registers.
pub mod reg {
    /// What a later free names: a pointer or a handle.
    pub const KEY: u8 = 0;
    /// Who holds the memory in the target: the address of an allocator, a context, or 0.
    pub const OWNER: u8 = 1;
    /// The runtime's own number of the pool.
    pub const POOL: u8 = 2;
    /// Bytes that the program asked for.
    pub const REQUESTED: u8 = 3;
    /// Bytes that the allocator takes for it.
    pub const CHARGED: u8 = 4;
    /// Where the runtime's resolver starts to find the device: a pointer or an ordinal.
    pub const DEVICE: u8 = 5;
    /// Where in the device's memory it lies.
    pub const ADDRESS: u8 = 6;
    /// One more value for the runtime's resolver.
    pub const AUX: u8 = 7;
    /// How many outputs there are.
    pub const OUTPUTS: u8 = 8;
    /// Of what remembers something: what is remembered.
    pub const VALUE: u8 = REQUESTED;
    /// Of a call that failed ([`super::flag::HAS_ERROR`]): its error code. It lies nowhere.
    pub const ERROR: u8 = ADDRESS;
}

/// Operations of the interpreter. `dst`, `a` and `b` are registers unless said otherwise.
pub mod op {
    /// `dst = argument[imm]` (0 to 5: the integer arguments in registers).
    pub const ARG: u8 = 1;
    /// `dst = u64 at (stack pointer + 8 * imm)`; at a function's entry 0 is the return address,
    /// 1 the first stack argument.
    pub const STACK: u8 = 2;
    /// `dst = return value`, at a return probe.
    pub const RET: u8 = 3;
    /// `dst = imm`, sign-extended.
    pub const CONST: u8 = 4;
    /// `dst = imm` as the high half of the register, the low half kept.
    pub const CONST_HIGH: u8 = 5;
    /// `dst = *(a + imm)`; `b` says how wide and whether signed, see [`super::width`].
    pub const LOAD: u8 = 6;
    /// `dst = a` narrowed to the width `b`, see [`super::width`].
    pub const CAST: u8 = 7;
    pub const ADD: u8 = 8;
    pub const SUB: u8 = 9;
    pub const MUL: u8 = 10;
    /// Unsigned; a zero divisor fails the probe like a failed load.
    pub const DIV: u8 = 11;
    /// `dst = ceil(a / b)`, unsigned.
    pub const DIV_CEIL: u8 = 12;
    /// `dst = a` rounded up to a multiple of `b`.
    pub const ALIGN_UP: u8 = 13;
    pub const AND: u8 = 14;
    pub const OR: u8 = 15;
    pub const SHL: u8 = 16;
    pub const SHR: u8 = 17;
    /// `dst = a == b`
    pub const EQ: u8 = 18;
    /// `dst = a < b`, unsigned.
    pub const LT: u8 = 19;
    /// `dst = a != 0 ? b : dst`
    pub const SELECT: u8 = 20;
    /// The event is none (filtered out) where `a == 0`.
    pub const REQUIRE: u8 = 21;
    /// The call failed where `a == 0`: an allocation becomes a failed one, a free is none.
    pub const SUCCEED: u8 = 22;
    /// `dst = output[imm]` of the allocation pending on this thread, 0 where there is none.
    pub const PENDING: u8 = 23;
    /// Reads `b` bytes (1 to 8 × [`super::BLOCK_WORDS`]) at `a + imm`, for the [`FIELD`]s after it.
    /// One read is much cheaper than one for each field.
    pub const BLOCK: u8 = 24;
    /// `dst` = the word `a` (a number, no register) of the last [`BLOCK`], shifted right by `imm` bits
    /// and narrowed to the width `b`. Undefined where the block did not reach that far, and after a
    /// [`LOAD`] or [`STACK`].
    pub const FIELD: u8 = 25;
    /// `dst` = what was noted under `a` in this process, else [`super::NOTHING`].
    pub const NOTED: u8 = 26;
    /// `dst` = what this thread works with, else [`super::NOTHING`].
    pub const CURRENT: u8 = 27;
    /// As [`PENDING`], of what `Carry` left.
    pub const CARRIED: u8 = 28;
    /// As [`LOAD`], but 0 where it cannot be read: for what no number depends on.
    pub const TRY_LOAD: u8 = 29;
    /// `dst` = where the program that is observed stands: at the probe.
    pub const POSITION: u8 = 30;
    /// `dst` = 1 where the process has been seen from its start, else 0.
    pub const WHOLE: u8 = 31;
}

/// Of what is remembered: that there is nothing.
pub const NOTHING: u64 = u64::MAX;

/// Widths of [`op::LOAD`] and [`op::CAST`].
pub mod width {
    pub const U8: u8 = 1;
    pub const U16: u8 = 2;
    pub const U32: u8 = 4;
    pub const U64: u8 = 8;
    /// Added to a width: sign-extend.
    pub const SIGNED: u8 = 0x80;
}

/// One step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Instr {
    pub op: u8,
    pub dst: u8,
    pub a: u8,
    pub b: u8,
    pub imm: i32,
}

/// What one probe does. The BPF cookie of the probe is its index in the map `SPECS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ProbeSpec {
    /// [`crate::WIRE_VERSION`]
    pub version: u16,
    /// An [`Action`]
    pub action: u8,
    /// Which outputs the program sets, one bit a register. The rest comes from the pending
    /// allocation, or is 0.
    pub outputs: u8,
    /// How many instructions of `code` there are.
    pub len: u16,
    /// See [`flag`].
    pub flags: u16,
    /// Keys, owners and pools of different runtimes are apart: one number a runtime.
    pub space: u32,
    /// The name of the function, a number that userspace gave it; 0 where it is of no interest.
    pub label: u32,
    /// One bit a space: where one of these is in use in the process, it counts, and this one tells what for.
    pub covered_by: u64,
    pub code: [Instr; MAX_INSTRS],
}

/// Bits of [`ProbeSpec::flags`].
pub mod flag {
    /// The process's allocator comes to life here: what it holds is known from its start.
    pub const STARTS_PROCESS: u16 = 1;
    /// What is freed is remembered for this thread, for the `Freed` at the function's return.
    pub const KEEPS_FREED: u16 = 2;
    /// Where the call failed, [`super::reg::ERROR`] is its error code.
    pub const HAS_ERROR: u16 = 4;
    /// There are other runtimes of its family.
    pub const LAYERED: u16 = 8;
    /// A key that is not known is of something else: no sign of a missed past.
    pub const KNOWN_ONLY: u16 = 16;
}

const _: () = assert!(size_of::<Instr>() == 8);
const _: () = assert!(size_of::<ProbeSpec>() == 24 + 8 * MAX_INSTRS);
