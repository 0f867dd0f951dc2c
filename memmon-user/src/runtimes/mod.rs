//! Runtimes: one folder each, and what all of them share.

pub mod level_zero;
mod manifests;
pub mod opencl;
pub mod profile;
pub mod resolver;
pub mod tt_metal;
pub mod vulkan;

use std::ffi::OsString;

/// Libraries that runtimes' loaders open by name or path, as their settings say. `variable` is the environment of the
/// program that uses them.
pub fn drivers(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<OsString> {
    let mut drivers = opencl::vendors::libraries(variable);
    drivers.extend(vulkan::drivers::libraries(variable));
    drivers
}
