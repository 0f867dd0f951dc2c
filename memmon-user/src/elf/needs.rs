//! What a file wants loaded with it: the entries of its dynamic section that name libraries, and where to look for them.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use object::{LittleEndian as LE, elf};

use super::{Library, source};

/// Entries of one file that are looked at, and libraries that are named by them. The largest programs name some hundreds.
const MAX_ENTRIES: u64 = 4_096;
const MAX_LIBRARIES: usize = 1_024;
/// The longest name or list of folders.
const MAX_TEXT: usize = 4_096;

/// As they stand in the file: nothing is looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// `DT_NEEDED`, in order.
    pub libraries: Vec<OsString>,
    /// `DT_RPATH`: folders, separated by colons.
    pub rpath: Option<OsString>,
    /// `DT_RUNPATH`.
    pub runpath: Option<OsString>,
}

impl Library {
    /// What the dynamic loader goes by; nothing where there is no dynamic section, or none that makes sense.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        let Some((offset, size)) = self.dynamic else {
            return needs;
        };
        let entry = size_of::<elf::Dyn64<LE>>() as u64;
        let size = size.min(MAX_ENTRIES * entry);
        let Ok(bytes) = self.source.read(offset, size, "the dynamic section") else {
            return needs;
        };
        let entries = source::entries::<elf::Dyn64<LE>>(&bytes).unwrap_or_default();
        let end = entries
            .iter()
            .position(|entry| entry.d_tag.get(LE) == elf::DT_NULL);
        let entries = entries
            .get(..end.unwrap_or(entries.len()))
            .unwrap_or_default();
        let with = |tag: elf::DynamicTag| {
            entries
                .iter()
                .filter(move |entry| entry.d_tag.get(LE) == tag)
                .map(|entry| entry.d_val.get(LE))
        };
        let Some(strings) = with(elf::DT_STRTAB).next() else {
            return needs;
        };
        let text = |at: u64| self.text(strings.checked_add(at)?);
        needs.libraries = with(elf::DT_NEEDED)
            .take(MAX_LIBRARIES)
            .filter_map(text)
            .collect();
        needs.rpath = with(elf::DT_RPATH).find_map(text);
        needs.runpath = with(elf::DT_RUNPATH).find_map(text);
        needs
    }

    /// The text that begins at `vaddr`, where it ends, and is not empty.
    fn text(&self, vaddr: u64) -> Option<OsString> {
        let bytes = self.data(vaddr, MAX_TEXT)?;
        let length = bytes.iter().position(|byte| *byte == 0)?;
        let text = bytes.get(..length)?;
        (!text.is_empty()).then(|| OsString::from_vec(text.to_vec()))
    }
}
