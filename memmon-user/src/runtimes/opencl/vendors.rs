//! Which implementations OpenCL's loaders open: each has a file in a folder, with the library's name in it.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use crate::runtimes::manifests;

const FOLDER: &str = "/etc/OpenCL/vendors";
/// Other folders, or single files, in its place.
const IN_ITS_PLACE: [&str; 2] = ["OCL_ICD_VENDORS", "OPENCL_VENDOR_PATH"];
/// Libraries themselves.
const LIBRARIES: &str = "OCL_ICD_FILENAMES";

/// Names and paths of libraries. `variable` is the environment of who will open them.
pub fn libraries(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<OsString> {
    let mut libraries: Vec<OsString> = variable(LIBRARIES)
        .iter()
        .flat_map(std::env::split_paths)
        .map(PathBuf::into_os_string)
        .collect();
    let chosen = IN_ITS_PLACE.iter().find_map(|name| variable(name));
    let place = chosen.as_deref().unwrap_or(OsStr::new(FOLDER));
    for text in manifests::texts(Path::new(place), "icd") {
        let lines = text.lines().map(str::trim);
        libraries.extend(lines.filter(|line| !line.is_empty()).map(OsString::from));
    }
    libraries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.icd", "liba.so.1\n");
        write("b.icd", "\n  /opt/b/libb.so \n");
        write("notes.txt", "libnone.so\n");
        let variable = |name: &str| match name {
            "OCL_ICD_VENDORS" => Some(folder.path().into()),
            "OCL_ICD_FILENAMES" => Some("libc.so:/d/libd.so".into()),
            _ => None,
        };
        assert_eq!(
            libraries(&variable),
            ["libc.so", "/d/libd.so", "liba.so.1", "/opt/b/libb.so"]
        );
        let none = |_: &str| Some(OsString::from("/nowhere"));
        assert_eq!(libraries(&none), ["/nowhere"]);
    }
}
