//! Runtimes: one folder each.

pub mod profile;
pub mod resolver;
pub mod tt_metal;
