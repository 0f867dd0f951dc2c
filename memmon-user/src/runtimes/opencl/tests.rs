//! On the real thing, where it is installed.

use std::fs::File;

use super::understand;
use crate::elf::Library;

/// Debian's pocl: stripped, and exports nothing of this.
const POCL: &str = "/usr/lib/x86_64-linux-gnu/libpocl.so.2";

fn open(path: &str) -> Option<Library> {
    let Ok(file) = File::open(path) else {
        println!("not run: {path} is not there");
        return None;
    };
    Some(Library::open(&file).unwrap())
}

#[test]
fn pocl_by_its_table() {
    let Some(library) = open(POCL) else { return };
    let found = understand(&library).unwrap().constants;
    for name in [
        "create_buffer",
        "retain_mem_object",
        "release_mem_object",
        "create_sub_buffer",
        "create_image",
        "svm_alloc",
        "svm_free",
        "enqueue_svm_free",
    ] {
        let address = found.get(name).copied().unwrap_or_default();
        assert!(
            library.is_code(u64::try_from(address).unwrap()),
            "{name}: {address:#x}"
        );
    }
    // The library's own symbol for what the ladder has it return.
    let platforms = library.symbol("POclIcdGetPlatformIDsKHR").unwrap().address;
    let by_name = super::by_name::functions(&library, &["clIcdGetPlatformIDsKHR"]);
    assert_eq!(by_name, [Some(platforms)]);
    assert!(!found.contains_key("device_mem_alloc"), "{found:?}");
}

/// What is no implementation has no functions, and is no error.
#[test]
fn another_library() {
    let Some(library) = open("/lib/x86_64-linux-gnu/libc.so.6") else {
        return;
    };
    let found = understand(&library).unwrap().constants;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["end"]);
}
