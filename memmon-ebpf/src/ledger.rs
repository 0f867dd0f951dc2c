//! Keys and values of the maps in which the kernel keeps what is true.
//!
//! A *process* is a number that is never used again (`proc`), not a pid. An *owner* is whatever
//! holds memory inside the process (an allocator, a context), and has a generation (`ogen`), which
//! rises when everything it holds is freed at once: rows of an older generation hold nothing.

/// `PROCS`: pid → process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ProcValue {
    pub proc: u64,
    /// When it was first seen, nanoseconds since boot.
    pub first_seen_ns: u64,
    /// Spaces that are in use in it, one bit each.
    pub present: u64,
    /// See [`proc_flag`].
    pub flags: u32,
    pub reserved: u32,
}

/// Bits of [`ProcValue::flags`].
pub mod proc_flag {
    /// A fork of an observed process: what it inherited is not its own.
    pub const FORKED: u32 = 1;
    /// Its allocator was seen being made.
    pub const STARTED: u32 = 2;
    /// What it held before is being read: frees leave a tombstone.
    pub const RECOVERING: u32 = 4;
    /// An allocation could not be read at all: no number of the process is sure to be whole.
    pub const INEXACT: u32 = 8;
    /// Probes are being placed, and what it held before has not been read yet: a free of something
    /// unknown says nothing. It leaves no tombstone either: the same key may be allocated anew
    /// before that is seen.
    pub const UNREAD: u32 = 16;
    /// memmon itself, in another process: not observed.
    pub const IGNORED: u32 = 32;
    /// All that it did with the runtime was seen.
    pub const WHOLE: u32 = 64;
}

/// `OWNERS`: who holds memory in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct OwnerKey {
    pub proc: u64,
    pub owner: u64,
    pub space: u32,
    pub reserved: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OwnerValue {
    pub ogen: u32,
    /// See [`owner_flag`].
    pub flags: u32,
    /// [`crate::spec::reg::DEVICE`] of its first allocation.
    pub device: u64,
    /// [`crate::spec::reg::AUX`] of its first allocation.
    pub aux: u64,
}

/// Bits of [`OwnerValue::flags`].
pub mod owner_flag {
    /// Seen coming into being.
    pub const OPENED: u32 = 1;
}

/// `LIVE`: an allocation that is not yet freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct LiveKey {
    pub proc: u64,
    pub key: u64,
    pub space: u32,
    pub reserved: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LiveValue {
    pub owner: u64,
    pub requested: u64,
    pub charged: u64,
    pub address: u64,
    /// Nanoseconds since boot; 0 where it was recovered.
    pub since_ns: u64,
    pub pool: u32,
    pub ogen: u32,
    pub tid: u32,
    /// See [`live_flag`].
    pub flags: u32,
    /// References beyond the first.
    pub references: u32,
    /// See [`crate::spec::ProbeSpec::label`].
    pub label: u32,
}

/// Bits of [`LiveValue::flags`].
pub mod live_flag {
    /// Read from the target, not seen being made.
    pub const RECOVERED: u32 = 1;
    /// No allocation, but the trace of a free while its process was being recovered.
    pub const TOMBSTONE: u32 = 2;
}

/// `PENDING`: (thread, space) → what is being allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PendingKey {
    pub tid: u32,
    pub space: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PendingValue {
    /// 0 where nothing is pending.
    pub proc: u64,
    /// Which of `outputs` are set, one bit each.
    pub set: u32,
    /// Of the function that began it, see [`crate::spec::ProbeSpec::label`].
    pub label: u32,
    pub outputs: [u64; 8],
}

/// `FREED`: (thread, space) → what the thread is freeing, in case that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FreedValue {
    /// 0 where nothing is being freed.
    pub proc: u64,
    pub key: u64,
    /// See [`freed`].
    pub what: u64,
    pub value: LiveValue,
}

/// What became of what a thread frees.
pub mod freed {
    /// It ended.
    pub const ENDED: u64 = 0;
    /// It was not known.
    pub const UNKNOWN: u64 = 1;
    /// It lost one reference of several.
    pub const RELEASED: u64 = 2;
}

/// `CURRENT`: (thread, space) → what the thread works with, the latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CurrentValue {
    pub proc: u64,
    pub values: [u64; 8],
}

/// `NOTES`: what is remembered of a process, for its runtime's own purposes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct NoteKey {
    pub proc: u64,
    pub key: u64,
    pub space: u32,
    pub reserved: u32,
}

/// `CALLS`: thread → the call of an upper layer that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CallValue {
    pub proc: u64,
    /// The upper layer's function, see [`crate::spec::ProbeSpec::label`]; 0 where it is in none.
    pub label: u32,
    /// See [`call_flag`].
    pub flags: u32,
}

/// Bits of [`CallValue::flags`].
pub mod call_flag {
    /// The layer that counts has been called from it.
    pub const REACHED: u32 = 1;
    /// The thread is inside a call of the layer that counts.
    pub const INSIDE: u32 = 2;
}

/// `ROWS`: totals of one pool of one owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RowKey {
    pub proc: u64,
    pub owner: u64,
    pub space: u32,
    pub pool: u32,
    pub ogen: u32,
    pub reserved: u32,
}

impl RowKey {
    /// The row that an allocation is counted in.
    #[inline(always)]
    pub fn of(key: &LiveKey, value: &LiveValue) -> Self {
        Self {
            proc: key.proc,
            owner: value.owner,
            space: key.space,
            pool: value.pool,
            ogen: value.ogen,
            reserved: 0,
        }
    }
}

/// Signed, since what was allocated before memmon came is freed here too: userspace adds what it
/// recovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RowValue {
    pub requested: i64,
    pub charged: i64,
    pub peak_charged: i64,
    pub live: i64,
    pub allocations: u64,
    pub frees: u64,
    pub failed: u64,
    pub failed_bytes: u64,
    /// Above 0: something about this row could not be read or stored.
    pub inexact: u64,
    /// Rises with every change.
    pub sequence: u64,
}

/// `COUNTERS`: what went by and what went wrong, per CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Allocations, frees and failures.
    Events = 1,
    /// Events that found the history ring full.
    LostHistory = 2,
    /// Process and owner events that found the control ring full.
    LostControl = 3,
    /// Loads from a target that failed.
    FailedReads = 4,
    /// Frees of something that was not known to be allocated.
    UnknownFrees = 5,
    /// Allocations that found `LIVE` full.
    LiveFull = 6,
    /// Events that found `ROWS`, `OWNERS`, `PROCS` or `PENDING` full.
    TableFull = 7,
    /// Frees, in a forked child, of what its parent allocated.
    InheritedFrees = 8,
    /// Hits whose spec was missing or of another version.
    BadSpecs = 9,
    /// Frees that the runtime refused.
    FailedFrees = 10,
    /// Changes of `LIVE` that the kernel refused though there was room: it is short of memory, or a
    /// lock was held for too long.
    LiveRefused = 11,
}

impl Counter {
    /// Slots of the map `COUNTERS`.
    pub const SLOTS: u32 = 16;
}

const _: () = assert!(size_of::<ProcValue>() == 32);
const _: () = assert!(size_of::<OwnerKey>() == 24);
const _: () = assert!(size_of::<OwnerValue>() == 24);
const _: () = assert!(size_of::<LiveKey>() == 24);
const _: () = assert!(size_of::<LiveValue>() == 64);
const _: () = assert!(size_of::<PendingKey>() == 8);
const _: () = assert!(size_of::<PendingValue>() == 80);
const _: () = assert!(size_of::<FreedValue>() == 88);
const _: () = assert!(size_of::<CurrentValue>() == 72);
const _: () = assert!(size_of::<NoteKey>() == 24);
const _: () = assert!(size_of::<CallValue>() == 16);
const _: () = assert!(size_of::<RowKey>() == 32);
const _: () = assert!(size_of::<RowValue>() == 80);
