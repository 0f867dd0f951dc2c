//! Runtimes: one folder each.

pub mod tt_metal;
