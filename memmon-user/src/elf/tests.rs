use std::{fs::File, process::Command};

use super::*;

/// This test's own executable: a real ELF file with imports, whatever machine it runs on.
fn own() -> Vec<u8> {
    std::fs::read("/proc/self/exe").unwrap()
}

/// A library made on the spot by the C compiler.
fn compiled(flags: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.c");
    let library = folder.path().join("liba.so");
    let text = "extern void imported(void);\n\
                int table[4] = {1, 2, 3, 4};\n\
                void first_of_two(void) { imported(); }\n\
                void first_of_many(void) { imported(); imported(); }\n\
                static __attribute__((used)) int hidden_one(void) { return 1; }\n";
    std::fs::write(&source, text).unwrap();
    let status = Command::new("gcc")
        .args(["-O1", "-shared", "-fPIC", "-Wl,-soname,liba.so.7"])
        .args(["-Wl,--build-id=0x0123abcd"])
        .args(flags)
        .arg("-o")
        .args([&library, &source])
        .status()
        .expect("gcc is needed for this test");
    assert!(status.success(), "{flags:?}");
    (folder, library)
}

fn open(path: &std::path::Path) -> Library {
    Library::open(&File::open(path).unwrap()).unwrap()
}

#[test]
fn symbols_are_found_in_both_tables_and_after_strip() {
    let (_folder, path) = compiled(&[]);
    let library = open(&path);
    let found = library.symbols(&[
        Pattern::Exact("table"),
        Pattern::Prefix("first_of_"),
        Pattern::Prefix("hidden_"),
        Pattern::Exact("imported"),
    ]);
    assert_eq!(found[0][0].size, 16);
    let names: Vec<_> = found[1].iter().map(|symbol| symbol.name.as_str()).collect();
    assert_eq!(names, ["first_of_two", "first_of_many"]);
    assert_eq!(found[2][0].name, "hidden_one");
    assert!(found[3].is_empty(), "an import is no definition");
    assert_eq!(library.build_id().as_deref(), Some("0123abcd"));
    assert_eq!(library.soname().as_deref(), Some("liba.so.7"));

    let status = Command::new("strip").arg(&path).status();
    assert!(status.expect("strip is needed for this test").success());
    let stripped = open(&path);
    assert_eq!(stripped.symbols_with_prefix("first_of_"), found[1]);
    assert_eq!(stripped.symbol("hidden_one"), None);
}

#[test]
fn stubs_are_found_in_every_style() {
    for flags in [
        &[][..],
        &["-fcf-protection=full"],
        &["-Wl,-z,now"],
        &["-Wl,-z,ibtplt"],
    ] {
        let (_folder, path) = compiled(flags);
        let library = open(&path);
        let stub = library.plt_stub("imported").unwrap();
        assert_eq!(library.plt_stub("nobody"), None);
        // It is what the caller calls.
        let caller = library.symbol("first_of_many").unwrap();
        let size = usize::try_from(caller.size).unwrap();
        let code = library.code(caller.address, size).unwrap();
        let called = iced_x86::Decoder::with_ip(64, &code, caller.address, 0)
            .into_iter()
            .find(iced_x86::Instruction::is_call_near)
            .unwrap();
        assert_eq!(called.near_branch_target(), stub, "{flags:?}");
    }
}

#[test]
fn offsets_and_addresses_are_inverse() {
    let library = Library::from_bytes(own()).unwrap();
    for segment in library
        .segments()
        .iter()
        .filter(|segment| segment.file_size > 0)
    {
        for address in [segment.address, segment.address + segment.file_size - 1] {
            let offset = library.file_offset(address).unwrap();
            assert_eq!(offset, address - segment.address + segment.offset);
            assert_eq!(library.vaddr_of_offset(offset), Some(address));
        }
    }
    assert_eq!(library.file_offset(u64::MAX), None);
    assert_eq!(library.code(u64::MAX - 3, 100), None);
}

#[test]
fn what_is_no_library_is_an_error() {
    assert!(Library::from_bytes(Vec::new()).is_err());
    assert!(Library::from_bytes(b"#!/bin/sh\n".to_vec()).is_err());
    let mut other = own();
    other[18] = 183; // AArch64
    assert!(matches!(
        Library::from_bytes(other),
        Err(ElfError::NotX86_64(_))
    ));
}

/// Everything that can be asked of a library, so that a bad one gets its chance to do harm.
fn ask_everything(bytes: Vec<u8>) {
    let Ok(library) = Library::from_bytes(bytes) else {
        return;
    };
    library.symbols(&[Pattern::Exact("main"), Pattern::Prefix("_Z")]);
    library.build_id();
    library.soname();
    library.plt_stub("memcpy");
    library.pointers(0x1000, 16);
    for address in [0, 0x1000, u64::MAX] {
        library.code(address, 64);
        library.file_offset(address);
        library.vaddr_of_offset(address);
    }
}

/// A small library for the tests below: headers are what is attacked, so size does not matter.
fn small() -> Vec<u8> {
    let (_folder, path) = compiled(&[]);
    std::fs::read(path).unwrap()
}

#[test]
fn a_truncated_file_is_an_error_or_less_but_never_a_panic() {
    let bytes = small();
    for length in (0..bytes.len()).step_by(bytes.len() / 200 + 1) {
        ask_everything(bytes[..length].to_vec());
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("liba.so");
    std::fs::write(&path, small()).unwrap();
    let library = open(&path);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    assert_eq!(library.symbol("table"), None);
    assert_eq!(library.plt_stub("imported"), None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn corrupt_headers_never_panic(
        edits in proptest::collection::vec((0usize..4096, proptest::num::u8::ANY), 1..24),
        tail in proptest::collection::vec((0usize..4096, proptest::num::u8::ANY), 0..24),
    ) {
        static SMALL: OnceLock<Vec<u8>> = OnceLock::new();
        let mut bytes = SMALL.get_or_init(small).clone();
        let length = bytes.len();
        for (at, value) in edits {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
        }
        // The section headers are at the end.
        for (at, value) in tail {
            if let Some(byte) = bytes.get_mut(length.saturating_sub(at + 1)) { *byte = value; }
        }
        ask_everything(bytes);
    }
}

#[test]
fn what_is_needed() {
    let (_folder, path) =
        compiled(&["-Wl,--no-as-needed,-lm,--enable-new-dtags,-rpath,$ORIGIN/lib:/opt"]);
    let needs = open(&path).needs();
    assert!(needs.libraries.iter().any(|name| name == "libm.so.6"));
    assert_eq!(needs.runpath.as_deref(), Some("$ORIGIN/lib:/opt".as_ref()));
    assert_eq!(needs.rpath, None);

    // Whatever is cut off, or says something else.
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(97) {
        if let Ok(part) = Library::from_bytes(bytes[..length].to_vec()) {
            part.needs();
        }
    }
    for at in (0..bytes.len()).step_by(13) {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        if let Ok(changed) = Library::from_bytes(changed) {
            changed.needs();
        }
    }
}
