//! Runtimes: one folder each, and what all of them share.

pub mod level_zero;
pub mod opencl;
pub mod profile;
pub mod resolver;
pub mod tt_metal;
pub mod vulkan;
