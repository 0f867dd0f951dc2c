//! What people and programs look at. Views read snapshots and write nothing back.

pub mod snapshot;
pub mod tui;
