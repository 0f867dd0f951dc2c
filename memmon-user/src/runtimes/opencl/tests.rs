//! On the real thing, where it is installed.

use std::fs::File;

use super::{understand, understand_usm};
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
    let usm = understand_usm(&library).unwrap().constants;
    assert!(usm.is_empty(), "{usm:?}");
}

/// What is no implementation has no functions.
#[test]
fn another_library() {
    let Some(library) = open("/lib/x86_64-linux-gnu/libc.so.6") else {
        return;
    };
    assert!(understand(&library).is_err());
    assert!(understand_usm(&library).unwrap().constants.is_empty());
}

/// What pocl 3.1-3 hands out, as it did when it was asked at run time.
const HANDED_OUT: [(&str, u64); 19] = [
    ("clCommandBarrierWithWaitListKHR", 0x6b060),
    ("clCommandCopyBufferKHR", 0x6b3d0),
    ("clCommandCopyBufferRectKHR", 0x6b760),
    ("clCommandCopyBufferToImageKHR", 0x6bb20),
    ("clCommandCopyImageKHR", 0x6bec0),
    ("clCommandCopyImageToBufferKHR", 0x6c260),
    ("clCommandFillBufferKHR", 0x6c5f0),
    ("clCommandFillImageKHR", 0x6c980),
    ("clCommandNDRangeKernelKHR", 0x6cd10),
    ("clCreateCommandBufferKHR", 0x6d120),
    ("clCreateProgramWithILKHR", 0x31500),
    ("clEnqueueCommandBufferKHR", 0x6d7e0),
    ("clFinalizeCommandBufferKHR", 0x6ea30),
    ("clGetCommandBufferInfoKHR", 0x6ed40),
    ("clGetPlatformInfo", 0x3a2e0),
    ("clIcdGetPlatformIDsKHR", 0x4f3d0),
    ("clReleaseCommandBufferKHR", 0x6f000),
    ("clRetainCommandBufferKHR", 0x6f500),
    ("clSetContentSizeBufferPoCL", 0x50980),
];

#[test]
fn functions_by_name() {
    let Some(library) = open(POCL) else { return };
    let names = HANDED_OUT.map(|(name, _)| name);
    let found = super::by_name::functions(&library, &names);
    let (_, here) = HANDED_OUT[15];
    if found[15] == Some(here) {
        assert_eq!(found, HANDED_OUT.map(|(_, address)| Some(address)));
    } else {
        println!("not compared: another build of pocl");
    }
}
