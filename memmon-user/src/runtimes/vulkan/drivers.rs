//! Which drivers Vulkan's loader opens: each has a manifest, JSON, with the library's path in it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::runtimes::manifests;

const FOLDERS: [&str; 4] = [
    "/usr/local/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/share/vulkan/icd.d",
];
/// Manifests, or folders of them, in the place of those, and beside them.
const IN_THEIR_PLACE: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
const BESIDE: &str = "VK_ADD_DRIVER_FILES";

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "ICD")]
    icd: Icd,
}

#[derive(Deserialize)]
struct Icd {
    /// A name, or a path: from the manifest's own folder where it is none from the root.
    library_path: PathBuf,
}

/// Names and paths of libraries. `variable` is the environment of who will open them.
pub fn libraries(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<OsString> {
    let list = |value: OsString| std::env::split_paths(&value).collect::<Vec<PathBuf>>();
    let chosen = IN_THEIR_PLACE.iter().find_map(|name| variable(name));
    let mut places: Vec<PathBuf> = match chosen {
        Some(value) => list(value),
        None => FOLDERS.iter().map(PathBuf::from).collect(),
    };
    places.extend(variable(BESIDE).into_iter().flat_map(list));
    places
        .iter()
        .flat_map(|place| manifests::files(place, "json"))
        .filter_map(|file| {
            let Manifest { icd } = serde_json::from_str(&manifests::text(&file)?).ok()?;
            let path = icd.library_path;
            let is_name = path.parent() == Some(Path::new(""));
            match (is_name, file.parent()) {
                (false, Some(folder)) => Some(folder.join(path).into()),
                _ => Some(path.into()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let write = |name: &str, path: &str| {
            let text = format!(
                r#"{{"file_format_version": "1.0.0", "ICD": {{"library_path": "{path}", "api_version": "1.3"}}}}"#
            );
            std::fs::write(place(name), text).unwrap();
        };
        write("a.json", "libvulkan_a.so");
        write("b.json", "/opt/b/libvulkan_b.so");
        write("c.json", "../lib/libvulkan_c.so");
        std::fs::write(place("d.json"), "{").unwrap();
        let of_folder = |name: &str| (name == "VK_DRIVER_FILES").then(|| folder.path().into());
        assert_eq!(
            libraries(&of_folder),
            [
                "libvulkan_a.so".into(),
                OsString::from("/opt/b/libvulkan_b.so"),
                place("../lib/libvulkan_c.so").into()
            ]
        );
        let of_one = |name: &str| (name == "VK_ICD_FILENAMES").then(|| place("b.json").into());
        assert_eq!(libraries(&of_one), ["/opt/b/libvulkan_b.so"]);
    }
}
