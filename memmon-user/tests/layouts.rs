//! Every stable release's `libtt_metal.so` is understood, from its code alone.
//!
//! `MEMMON_LIBTT_DIR` names the folder `<dir>/<version>/libtt_metal.so`; the libraries are 20 to
//! 35 MB each and not in the repository.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{
    fs::File,
    path::PathBuf,
    time::{Duration, Instant},
};

use memmon::{
    elf::{Library, Pattern},
    runtimes::tt_metal::layout::{self, Basis, Layout},
};

/// Every stable release; what is particular to it: does `Buffer` point to its fields, the chip's
/// id in a `Device`, the first bank manager, the live buffers.
const RELEASES: &[(&str, bool, u32, u32, u32)] = &[
    ("0.65.0", false, 0x08, 0x30, 0x148),
    ("0.65.1", false, 0x08, 0x30, 0x148),
    ("0.66.0", false, 0x08, 0x30, 0x148),
    ("0.67.0", false, 0x08, 0x30, 0x148),
    ("0.67.4", false, 0x18, 0x30, 0x148),
    ("0.68.0", false, 0x18, 0x30, 0x148),
    ("0.69.0", false, 0x18, 0x30, 0x148),
    ("0.70.1", false, 0x18, 0x30, 0x148),
    ("0.71.2", false, 0x18, 0x30, 0x148),
    ("0.72.0", false, 0x18, 0x30, 0x148),
    ("0.73.1", false, 0x18, 0x38, 0x150),
    ("0.74.0", false, 0x18, 0x38, 0x150),
    ("0.75.0", false, 0x18, 0x38, 0x150),
    ("0.76.0", false, 0x18, 0x38, 0x150),
    ("0.77.0", false, 0x18, 0x38, 0x150),
    ("0.78.0", false, 0x18, 0x38, 0x150),
    ("0.79.0", true, 0x18, 0x30, 0x148),
    ("0.80.0", true, 0x18, 0x30, 0x148),
    ("0.81.1", true, 0x18, 0x30, 0x148),
];

/// What is known of a release, with the path of its library.
type Release = (&'static (&'static str, bool, u32, u32, u32), PathBuf);

/// The releases whose libraries are here: those that are tested on must be, and with
/// `MEMMON_LIBTT_ALL` every one. None where no folder is named,
/// which is not so under `cargo xtask test`.
fn libraries() -> Option<Vec<Release>> {
    let Some(folder) = std::env::var_os("MEMMON_LIBTT_DIR").map(PathBuf::from) else {
        let installed = std::env::var_os("MEMMON_LAB");
        assert!(
            installed.is_none(),
            "MEMMON_LIBTT_DIR: `cargo xtask test` sets it"
        );
        return None;
    };
    let all = std::env::var_os("MEMMON_LIBTT_ALL").is_some();
    let tested = std::env::var("MEMMON_VERSIONS").unwrap_or_default();
    let mut here = Vec::new();
    for release in RELEASES {
        let path = folder.join(release.0).join("libtt_metal.so");
        if path.is_file() {
            here.push((release, path));
        } else {
            let wanted = all || tested.split(' ').any(|version| version == release.0);
            assert!(!wanted, "missing: {}", path.display());
        }
    }
    assert!(!here.is_empty(), "no library in {}", folder.display());
    Some(here)
}

fn open(path: &PathBuf) -> Library {
    Library::open(&File::open(path).unwrap()).unwrap()
}

fn check(version: &str, layout: &Layout, expected: (bool, u32, u32, u32)) {
    let (indirect, device_id, bank_manager, live) = expected;
    assert_eq!(layout.basis, Basis::Decoded, "{version}");
    assert!(layout.notes.is_empty(), "{version}: {:?}", layout.notes);
    let constants: Vec<(String, i64)> = layout.constants().into_iter().collect();
    let wanted = [
        ("bank_manager_free_lists", 0x3b0),
        ("bank_manager_kind", 0),
        ("bank_manager_num_banks", 0x20),
        ("buffer_address", 0x40),
        ("buffer_allocator", 0x30),
        ("buffer_base", 0x10),
        ("buffer_device", 0),
        ("buffer_hooked", 0x39),
        ("buffer_indirect", i64::from(indirect)),
        ("buffer_page_size", 0x48),
        ("buffer_size", 8),
        ("buffer_status", 0x38),
        ("buffer_type", 0x10),
        ("free_list_align", 0x20),
        ("free_list_max", 8),
    ];
    let wanted: Vec<(String, i64)> = wanted.map(|(name, value)| (name.into(), value)).into();
    assert_eq!(constants, wanted, "{version}");
    assert_eq!(layout.buffer.buffer_layout, 0x14, "{version}");
    assert_eq!(layout.buffer.owns_data, Some(0x1b), "{version}");
    let list = &layout.free_list;
    assert_eq!(
        [
            list.offset,
            list.block_address,
            list.block_size,
            list.allocated,
            list.in_use
        ],
        [0x10, 0x40, 0x58, 0xa0, 0xb8],
        "{version}"
    );
    let allocator = layout.allocator.as_ref().unwrap();
    let managers: Vec<u32> = (0..4).map(|number| bank_manager + 8 * number).collect();
    assert_eq!(allocator.bank_managers, managers, "{version}");
    assert_eq!(allocator.buffer_count, live, "{version}");
    let devices = layout.devices.as_ref().unwrap();
    assert_eq!(devices.device_id, device_id, "{version}");
    assert!(devices.device_allocator.is_some(), "{version}");
    assert!(devices.mesh_active.is_some(), "{version}");
    assert!(layout.tables.is_some(), "{version}");
}

#[test]
fn every_release_is_understood_from_its_code() {
    let Some(paths) = libraries() else { return };
    for ((version, indirect, id, managers, live), path) in paths {
        let layout = layout::resolve(&open(&path)).unwrap_or_else(|error| {
            panic!("{version}: {error}");
        });
        eprintln!("{version}: {layout:x?}");
        check(version, &layout, (*indirect, *id, *managers, *live));
    }
}

#[test]
fn a_stripped_library_says_the_same() {
    let Some(paths) = libraries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let apart = if paths.len() > 6 { 6 } else { 1 };
    for ((version, ..), path) in paths.into_iter().step_by(apart) {
        let stripped = folder.path().join("libtt_metal.so");
        let done = std::process::Command::new("strip")
            .arg("-o")
            .args([&stripped, &path])
            .status()
            .expect("strip is needed for this test");
        assert!(done.success(), "{version}");
        assert_eq!(
            layout::resolve(&open(&stripped)).unwrap(),
            layout::resolve(&open(&path)).unwrap(),
            "{version}"
        );
    }
}

#[test]
fn the_stub_of_the_throw_is_found() {
    let Some(paths) = libraries() else { return };
    for ((version, ..), path) in paths {
        let library = open(&path);
        let stub = library.plt_stub("__cxa_throw");
        assert!(
            stub.is_some_and(|stub| library.is_code(stub) && library.file_offset(stub).is_some()),
            "{version}: {stub:x?}"
        );
        if *version == "0.81.1" {
            assert_eq!(stub, Some(0x7a_ce70));
        }
        assert!(library.build_id().is_some(), "{version}");
    }
}

#[test]
fn opening_and_looking_up_is_quick() {
    let Some(paths) = libraries() else { return };
    let names: Vec<String> = (0..20)
        .map(|number| format!("_ZN2tt8tt_metal{number}"))
        .collect();
    let patterns: Vec<Pattern<'_>> = names.iter().map(|name| Pattern::Prefix(name)).collect();
    let started = Instant::now();
    let library = open(&paths.last().unwrap().1);
    library.symbols(&patterns);
    let took = started.elapsed();
    eprintln!("opening and twenty look-ups: {took:?}");
    let started = Instant::now();
    layout::resolve(&library).unwrap();
    eprintln!("the layout: {:?}", started.elapsed());
    let limit = if cfg!(debug_assertions) { 2_000 } else { 100 };
    assert!(took < Duration::from_millis(limit), "{took:?}");
}

/// Functions that are not what they were: whatever they say, it is an answer or an error.
#[test]
fn a_damaged_library_is_survived() {
    let Some(paths) = libraries() else { return };
    let (_, path) = paths.last().unwrap();
    let whole = std::fs::read(path).unwrap();
    let library = open(path);
    let functions = library.symbols(&[
        Pattern::Prefix("_ZNK2tt8tt_metal6Buffer"),
        Pattern::Prefix("_ZN2tt8tt_metal10BufferImplC1"),
        Pattern::Prefix("_ZNK2tt8tt_metal11BankManager"),
        Pattern::Prefix("_ZNK2tt8tt_metal11distributed10MeshDevice"),
    ]);
    let mut refused = 0;
    for round in 1..12u64 {
        let mut bytes = whole.clone();
        let mut random = round;
        for function in functions.iter().flatten() {
            let at = usize::try_from(library.file_offset(function.address).unwrap()).unwrap();
            let size = usize::try_from(function.size).unwrap();
            for byte in &mut bytes[at..at + size.min(64)] {
                // xorshift: one byte in four, more or less
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                if random % 4 == 0 {
                    *byte = random.to_le_bytes()[3];
                }
            }
        }
        refused += usize::from(layout::resolve(&Library::from_bytes(bytes).unwrap()).is_err());
    }
    assert!(
        refused > 8,
        "only {refused} damaged libraries of 11 were refused"
    );
}
