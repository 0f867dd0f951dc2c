//! Libraries in the mappings of a process.

use std::collections::BTreeMap;

use crate::target::maps::{self, Region};

/// The file of a library as a process's mappings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    pub device: (u32, u32),
    pub inode: u64,
}

/// A library that a process maps.
#[derive(Clone, Debug)]
pub struct Mapped {
    pub file: FileId,
    /// Where file offset 0 lies.
    pub base: u64,
    /// An executable part of it.
    pub region: Region,
}

/// Every library in `regions` whose file name `wanted` takes, once a file.
pub fn libraries(regions: &[Region], wanted: impl Fn(&str) -> bool) -> Vec<Mapped> {
    let mut found: BTreeMap<FileId, Mapped> = BTreeMap::new();
    let mut bases: BTreeMap<FileId, u64> = BTreeMap::new();
    for region in regions {
        if region.inode == 0 || !wanted(region.file_name()) {
            continue;
        }
        let file = FileId {
            device: region.device,
            inode: region.inode,
        };
        if region.offset == 0 {
            bases.entry(file).or_insert(region.start);
        }
        if region.executable {
            found.entry(file).or_insert_with(|| Mapped {
                file,
                base: region.start.wrapping_sub(region.offset),
                region: region.clone(),
            });
        }
    }
    let mut all: Vec<Mapped> = found.into_values().collect();
    for mapped in &mut all {
        if let Some(base) = bases.get(&mapped.file) {
            mapped.base = *base;
        }
    }
    all
}

/// Every process with such a library.
pub fn processes(wanted: impl Fn(&str) -> bool) -> Vec<(u32, Vec<Mapped>)> {
    maps::pids()
        .into_iter()
        .filter_map(|pid| {
            let found = libraries(&maps::of_process(pid).ok()?, &wanted);
            (!found.is_empty()).then_some((pid, found))
        })
        .collect()
}
