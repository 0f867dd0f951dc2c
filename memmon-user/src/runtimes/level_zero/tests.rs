use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    tables::{Found, TableError, find},
    *,
};

fn open(path: &Path) -> Library {
    Library::open(&File::open(path).unwrap()).unwrap()
}

/// `driver.c`, compiled so; none where there is no compiler.
fn driver(flags: &[&str]) -> Option<Library> {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libze_intel_gpu.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/runtimes/level_zero/driver.c");
    let built = Command::new("gcc")
        .args(["-shared", "-fPIC", "-w"])
        .args(flags)
        .arg("-o")
        .args([&library, &source])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("not run with {flags:?}: no such C compiler");
        return None;
    }
    Some(open(&library))
}

/// The function in the table, as the symbols that are not exported have it, and the export.
fn of(library: &Library, name: &str) -> Option<(String, bool)> {
    let found: Vec<Found> = find(library).unwrap();
    let found = found.iter().find(|found| found.function.name == name)?;
    let names = [
        "alloc_shared",
        "alloc_device",
        "alloc_host",
        "give_back",
        "give_back_extended",
        "get_devices",
        "zeMemAllocDevice",
    ];
    let is = |name: &&&str| {
        let symbol = library.symbol(name);
        symbol.is_some_and(|symbol| symbol.address == found.table)
    };
    let name = names.iter().find(is).copied().unwrap_or("another");
    Some((name.to_owned(), found.export.is_some()))
}

/// Every way to write a table that compilers choose of, at each of their levels.
#[test]
fn tables_are_read_whatever_the_compiler_made_of_them() {
    let levels: [&[&str]; 7] = [
        &["-O0"],
        &["-O1"],
        &["-O2", "-fcf-protection=full"],
        &["-O3"],
        &["-O3", "-mavx2"],
        &["-Os"],
        &["-O2", "-fno-plt", "-fstack-protector-all"],
    ];
    let ways: [&[&str]; 5] = [
        &[],
        &["-DTRACING"],
        &["-DOBJECT"],
        &["-DHELPER"],
        &["-DJUMPS"],
    ];
    for level in levels {
        for way in ways {
            let Some(library) = driver(&[level, way].concat()) else {
                continue;
            };
            let name = |name: &str| of(&library, name).map(|(name, _)| name);
            let all = [
                ("mem_alloc_shared", "alloc_shared"),
                ("mem_alloc_device", "alloc_device"),
                ("mem_alloc_host", "alloc_host"),
                ("mem_free", "give_back"),
                ("mem_free_ext", "give_back_extended"),
                ("device_get", "get_devices"),
            ];
            for (function, expected) in all {
                assert_eq!(
                    name(function).as_deref(),
                    Some(expected),
                    "{level:?} {way:?}"
                );
            }
            assert_eq!(name("physical_create"), None);
        }
    }
}

/// A call must not come by two probes, nor by none.
#[test]
fn an_export_is_probed_where_it_is_a_function_of_its_own() {
    for level in ["-O1", "-O2", "-O3"] {
        let export = |way: &str| {
            let library = driver(&[level, way])?;
            of(&library, "mem_alloc_device").map(|(_, export)| export)
        };
        if let Some(own) = export("-DCOPY") {
            assert!(own, "{level}");
        }
    }
    // Not inlined: it jumps there.
    let library = driver(&["-O2", "-DJUMPS", "-fno-inline"]);
    if let Some(library) = library {
        let (name, export) = of(&library, "mem_alloc_device").unwrap();
        assert_eq!((name.as_str(), export), ("alloc_device", false));
    }
}

#[test]
fn what_is_not_certain_is_not_understood() {
    let error = |way: &str| driver(&["-O2", way]).map(|library| find(&library).unwrap_err());
    let table = "zeGetMemProcAddrTable";
    let function = "zeMemAllocDevice";
    if let Some(error) = error("-DUNKNOWN") {
        assert_eq!(error, TableError::Unknown { table, function });
    }
    if let Some(error) = error("-DSECOND") {
        let is = matches!(&error, TableError::Several { addresses, .. } if addresses.len() == 2);
        assert!(is, "{error}");
    }
    if let Some(error) = error("-DSAME") {
        assert!(matches!(error, TableError::Same { .. }), "{error}");
    }
    if let Some(error) = error("-DDATA") {
        assert!(matches!(error, TableError::NoCode { .. }), "{error}");
    }
    if let Some(error) = error("-DLACKING") {
        let function = "zeMemFree";
        assert_eq!(error, TableError::Nothing { table, function });
    }
    if let Some(error) = error("-DSWITCH") {
        assert_eq!(error, TableError::TooLong { table });
    }
    if let Some(error) = error("-DzeGetMemProcAddrTable=something_else") {
        assert_eq!(error, TableError::NoTable(table));
    }
}

/// Drivers that are installed here, and those that `MEMMON_LEVEL_ZERO_DRIVERS` names.
fn drivers() -> Vec<PathBuf> {
    let named = std::env::var_os("MEMMON_LEVEL_ZERO_DRIVERS").unwrap_or_default();
    let mut drivers: Vec<PathBuf> = std::env::split_paths(&named)
        .filter(|path| path.exists())
        .collect();
    let installed = Path::new("/usr/lib/x86_64-linux-gnu/libze_intel_gpu.so.1");
    if installed.exists() {
        drivers.push(installed.to_owned());
    }
    drivers
}

/// The end-to-end tests compare what is counted there; this is for drivers that do not run here.
#[test]
fn real_drivers_are_understood() {
    let drivers = drivers();
    if drivers.is_empty() {
        eprintln!("not run: no Level Zero driver is installed");
    }
    for driver in drivers {
        let library = open(&driver);
        let found = find(&library).unwrap();
        assert_eq!(found.len(), 9, "{}", driver.display());
        for found in &found {
            // Nothing of the public interface stands in a table, and no function in the midst of another.
            let name = found.function.symbol;
            let export = library.symbol(name).map(|symbol| symbol.address);
            assert!(export != Some(found.table) && found.table % 16 == 0);
            eprintln!(
                "{} {name} {:#x} {:x?}",
                driver.display(),
                found.table,
                found.export
            );
        }
        let understood = understand(&library).unwrap();
        assert!(understood.constants.len() >= 10);
    }
}

/// A driver whose code was damaged is not understood, or is understood in another way; it is never the end of us.
#[test]
fn any_damage_is_followed_to_an_end() {
    let Some(driver) = drivers().pop() else {
        eprintln!("not run: no Level Zero driver is installed");
        return;
    };
    let bytes = std::fs::read(&driver).unwrap();
    let start = open(&driver)
        .symbol("zeGetMemProcAddrTable")
        .unwrap()
        .address;
    let offset = usize::try_from(open(&driver).file_offset(start).unwrap()).unwrap();
    let mut state = 1_u64;
    for _ in 0..200 {
        let mut damaged = bytes.clone();
        for _ in 0..8 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = offset + (state >> 33) as usize % 600;
            damaged[at] = (state >> 56) as u8;
        }
        let _ = find(&Library::from_bytes(damaged).unwrap());
    }
}

/// Code that fills all that is remembered of the stack and then may go on in thousands of ways: it took minutes, and
/// all memory.
#[test]
fn code_that_branches_on_and_on_is_not_followed_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let [source, library] = ["a.s", "a.so"].map(|name| folder.path().join(name));
    let text = ".text\n.globl zeGetMemProcAddrTable\nzeGetMemProcAddrTable:\n\
                .rept 4096\npush %rax\n.endr\n.rept 4000\n.byte 0x74, 0\n.endr\nret\n\
                .size zeGetMemProcAddrTable, .-zeGetMemProcAddrTable\n";
    std::fs::write(&source, text).unwrap();
    let built = Command::new("gcc")
        .args(["-shared", "-nostdlib", "-o"])
        .args([&library, &source])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("not run: no C compiler");
        return;
    }
    let started = std::time::Instant::now();
    let table = "zeGetMemProcAddrTable";
    assert_eq!(
        find(&open(&library)).unwrap_err(),
        TableError::TooLong { table }
    );
    let took = started.elapsed();
    // It is milliseconds.
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
}
