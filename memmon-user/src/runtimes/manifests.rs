//! Small files that name the drivers which a loader opens.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::target::maps;

/// Files of one folder, and bytes of one file. Real ones are a line, or ten.
const MAX_FILES: usize = 256;
const MAX_BYTES: u64 = 64 << 10;

/// The file itself, or those of this ending in a folder, by name.
pub fn files(place: &Path, ending: &str) -> Vec<PathBuf> {
    if !place.is_dir() {
        return vec![place.to_owned()];
    }
    let listed = std::fs::read_dir(place).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = listed
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|of_file| of_file == ending))
        .take(MAX_FILES)
        .collect();
    files.sort();
    files
}

/// None where it is no file, or not text.
pub fn text(file: &Path) -> Option<String> {
    let mut text = String::new();
    let file = maps::open_regular(file).ok()?;
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// What is in [`files`].
pub fn texts(place: &Path, ending: &str) -> Vec<String> {
    files(place, ending)
        .iter()
        .filter_map(|file| text(file))
        .collect()
}
