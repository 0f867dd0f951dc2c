//! Runtimes: one folder each.

pub mod profile;
pub mod tt_metal;
