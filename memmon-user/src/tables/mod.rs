//! Pure state: facts in, rows out. No I/O, no clock, no BPF.

pub mod snapshot;
