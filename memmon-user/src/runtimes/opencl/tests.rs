use std::fs::File;

use super::{by_name::functions, understand, understand_usm};
use crate::elf::Library;

/// What is no implementation has no functions.
#[test]
fn another_library() {
    let own = File::open("/proc/self/exe").unwrap();
    let library = Library::open(&own).unwrap();
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

/// Debian's pocl: stripped, and exports nothing of this. Its others are looked at by `tests/tests/drivers.rs`.
#[test]
fn functions_by_name() {
    let pocl = "/usr/lib/x86_64-linux-gnu/libpocl.so.2";
    let Ok(file) = File::open(pocl) else {
        let installed = std::env::var_os("MEMMON_LAB");
        assert!(
            installed.is_none(),
            "{pocl}: `cargo xtask test` installs it"
        );
        return;
    };
    let library = Library::open(&file).unwrap();
    let found = functions(&library, &HANDED_OUT.map(|(name, _)| name));
    let (_, here) = HANDED_OUT[15];
    if found[15] == Some(here) {
        assert_eq!(found, HANDED_OUT.map(|(_, address)| Some(address)));
    } else {
        // Another build: no address is known beforehand, but of the one that has a symbol.
        let platforms = library.symbol("POclIcdGetPlatformIDsKHR").unwrap();
        assert_eq!(found[15], Some(platforms.address));
        let mut found = found.into_iter().flatten();
        assert!(found.all(|address| library.is_code(address)));
    }
}
