//! Libraries that a command will map, found before it is started: so that probes are there when its first instruction
//! runs.
//!
//! What can be known beforehand: the program and what it is linked with, the same of other programs that the command line
//! names, what `LD_PRELOAD` says, and libraries that programs open by name: whatever has a runtime's name in the loader's
//! cache or in `LD_LIBRARY_PATH`, and what OpenCL's and Vulkan's loaders open. What cannot: a path that a program makes up
//! while it runs (Python's packages, a shell's next command). Those libraries are attached to when they are mapped.
//!
//! Nothing of this is sure, and nothing has to be: a file that nobody maps makes no difference to anybody.

pub mod cache;
mod program;
mod search;
#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use self::{cache::Cache, search::Search};
use crate::runtimes;

/// A library that may be mapped.
#[derive(Debug)]
pub struct Found {
    /// Of the file itself, whatever link led to it.
    pub path: PathBuf,
    pub file: File,
}

/// What the command of these words may map of the files whose names `wants` takes. It is looked for in this process's
/// environment, which is the command's, and with the rights of this thread.
pub fn find(words: &[OsString], wants: &dyn Fn(&str) -> bool) -> Vec<Found> {
    let variable = |name: &str| std::env::var_os(name);
    let cache = Cache::of_machine();
    let mut search = Search::new(wants, &cache, variable("LD_LIBRARY_PATH").as_deref());
    for program in program::named_by(words, variable("PATH").as_deref()) {
        search.with_needs(&program);
    }
    for name in preloaded(variable("LD_PRELOAD").as_deref()) {
        search.named(&name);
    }
    search.whatever_is_wanted();
    for name in runtimes::drivers(&variable) {
        let of_file = std::path::Path::new(&name).file_name().unwrap_or(&name);
        if wants(&of_file.to_string_lossy()) {
            search.named(&name);
        }
    }
    search.found
}

fn preloaded(list: Option<&OsStr>) -> Vec<OsString> {
    list.unwrap_or_default()
        .as_bytes()
        .split(|byte| matches!(byte, b':' | b' '))
        .filter(|name| !name.is_empty())
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect()
}
