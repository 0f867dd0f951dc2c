use std::{fs::File, path::Path, process::Command};

use super::{
    tables::{Found, TableError, find},
    *,
};

fn open(path: &Path) -> Library {
    Library::open(&File::open(path).unwrap()).unwrap()
}

/// `driver.c`, compiled so.
fn driver(flags: &[&str]) -> Library {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libze_intel_gpu.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/runtimes/level_zero/driver.c");
    let built = Command::new("gcc")
        .args(["-shared", "-fPIC", "-w"])
        .args(flags)
        .arg("-o")
        .args([&library, &source])
        .status()
        .expect("gcc is needed for this test");
    assert!(built.success(), "{flags:?}");
    open(&library)
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
            let library = driver(&[level, way].concat());
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
            let library = driver(&[level, way]);
            of(&library, "mem_alloc_device").map(|(_, export)| export)
        };
        assert_eq!(export("-DCOPY"), Some(true), "{level}");
    }
    // Not inlined: it jumps there.
    let library = driver(&["-O2", "-DJUMPS", "-fno-inline"]);
    let (name, export) = of(&library, "mem_alloc_device").unwrap();
    assert_eq!((name.as_str(), export), ("alloc_device", false));
}

#[test]
fn what_is_not_certain_is_not_understood() {
    let of = |way: &str| find(&driver(&["-O2", way])).unwrap_err();
    let table = "zeGetMemProcAddrTable";
    let function = "zeMemAllocDevice";
    let error = of("-DUNKNOWN");
    assert_eq!(error, TableError::Unknown { table, function });
    let error = of("-DSECOND");
    let is = matches!(&error, TableError::Several { addresses, .. } if addresses.len() == 2);
    assert!(is, "{error}");
    let error = of("-DSAME");
    assert!(matches!(error, TableError::Same { .. }), "{error}");
    let error = of("-DDATA");
    assert!(matches!(error, TableError::NoCode { .. }), "{error}");
    let error = of("-DLACKING");
    let function = "zeMemFree";
    assert_eq!(error, TableError::Nothing { table, function });
    let error = of("-DSWITCH");
    assert_eq!(error, TableError::TooLong { table });
    let error = of("-DzeGetMemProcAddrTable=something_else");
    assert_eq!(error, TableError::NoTable(table));
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
