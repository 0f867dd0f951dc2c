use std::{fs::File, path::Path, process::Command};

use super::*;

fn open(path: &Path) -> Library {
    Library::open(&File::open(path).unwrap()).unwrap()
}

/// Drivers that are installed here, and those that `MEMMON_LEVEL_ZERO_DRIVERS` names.
fn drivers() -> Vec<std::path::PathBuf> {
    let named = std::env::var_os("MEMMON_LEVEL_ZERO_DRIVERS").unwrap_or_default();
    let mut drivers: Vec<_> = std::env::split_paths(&named).collect();
    let installed = Path::new("/usr/lib/x86_64-linux-gnu/libze_intel_gpu.so.1");
    if installed.exists() {
        drivers.push(installed.to_owned());
    }
    drivers
}

#[test]
fn real_drivers_are_understood() {
    let drivers = drivers();
    if drivers.is_empty() {
        eprintln!("not run: no Level Zero driver is installed");
    }
    for driver in drivers {
        let start = std::time::Instant::now();
        let found = tables::find(&open(&driver));
        eprintln!("{}: {:?}", driver.display(), start.elapsed());
        for found in found.unwrap() {
            eprintln!("  {} {:#x} {:x?}", found.function.name, found.table, found.export);
        }
    }
}
