//! The wire format between the BPF programs and userspace.
//!
//! Everything here is `repr(C)`, free of padding, and its size is asserted: both sides are built
//! from this one definition, and every ring record also carries a version and a length, which
//! userspace checks before it looks inside.
//!
//! * [`spec`]: what a probe does ([`spec::ProbeSpec`]), a small program for the interpreter;
//! * [`ledger`]: keys and values of the maps that hold live allocations and totals;
//! * [`record`]: what the ring buffers carry.
#![no_std]

pub mod ledger;
pub mod record;
pub mod spec;

/// Version of every structure in this crate. Any change of layout or meaning raises it.
pub const WIRE_VERSION: u16 = 4;
