//! The files that name the drivers which Vulkan's and OpenCL's loaders open.
use std::{ffi::OsString, fs, sync::OnceLock};

use memmon::runtimes::{opencl::vendors, vulkan::drivers};
use tempfile::TempDir;

static FOLDER: OnceLock<TempDir> = OnceLock::new();

/// More bytes of one file are not read.
const LONGEST: usize = 64 << 10;

pub fn run(data: &[u8]) {
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("there is room for two files"));
    let place = folder.path();
    for name in ["a.json", "a.icd", "b.txt"] {
        fs::write(place.join(name), data).expect("there is room for it");
    }
    let of_folder = |name: &str| {
        ["VK_DRIVER_FILES", "OCL_ICD_VENDORS"]
            .contains(&name)
            .then(|| place.into())
    };
    let of_file = |name: &str| match name {
        "VK_ICD_FILENAMES" => Some(place.join("a.json").into()),
        "OPENCL_VENDOR_PATH" => Some(place.join("a.icd").into()),
        _ => None,
    };
    let drivers = drivers::libraries(&of_folder);
    assert!(drivers.len() <= 1, "of one file: {drivers:?}");
    assert_eq!(drivers::libraries(&of_file), drivers);
    let vendors = vendors::libraries(&of_folder);
    assert_eq!(vendors::libraries(&of_file), vendors);
    let text = std::str::from_utf8(&data[..data.len().min(LONGEST)]);
    assert!(text.is_ok() || drivers.is_empty() && vendors.is_empty());
    for library in &vendors {
        let line = library.to_str().expect("it was text");
        assert!(!line.is_empty() && !line.contains('\n') && line.trim() == line);
    }
    // Names in the environment are handed on as they are.
    let named = |name: &str| {
        let list = || OsString::from(text.unwrap_or_default().replace('\0', ""));
        (name == "OCL_ICD_FILENAMES").then(list)
    };
    let nowhere = |name: &str| match name {
        "OCL_ICD_VENDORS" => Some(place.join("none").into()),
        name => named(name),
    };
    vendors::libraries(&nowhere);
}
