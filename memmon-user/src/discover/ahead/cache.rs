//! `/etc/ld.so.cache`: where the dynamic loader finds libraries that are asked for by name. `ldconfig` writes it.
//!
//! The format is glibc's (`sysdeps/generic/dl-cache.h`), of 2.2 and later: a header, entries of fixed size, and the names
//! and paths that they point at. Older `ldconfig`s put a table of an older format in front of it.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The largest cache that is read. Each library takes some hundred bytes.
const MAX_BYTES: u64 = 64 << 20;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_ENTRY: usize = 12;
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// What a program of this machine can load: an ELF library for glibc, of 64-bit x86.
const X86_64: u32 = 0x0303;

/// Names, and the files that they stand for: more than one where there are variants for other processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache(HashMap<OsString, Vec<PathBuf>>);

impl Cache {
    /// The machine's; empty where there is none.
    pub fn of_machine() -> Self {
        let mut bytes = Vec::new();
        let read = File::open("/etc/ld.so.cache")
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        match read {
            Ok(_) => Self::parse(&bytes),
            Err(_) => Self::default(),
        }
    }

    /// Whatever in it makes sense.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut cache = Self::default();
        let Some(table) = newer(bytes) else {
            return cache;
        };
        let count = word(table, MAGIC.len()).unwrap_or(0);
        let entries = table.get(HEADER..).unwrap_or_default();
        for entry in entries.as_chunks::<ENTRY>().0.iter().take(count as usize) {
            let [flags, name, path] = [0, 4, 8].map(|at| word(entry, at).unwrap_or(0));
            if flags != X86_64 {
                continue;
            }
            if let (Some(name), Some(path)) = (text(table, name), text(table, path)) {
                let files = cache.0.entry(name.to_owned()).or_default();
                files.push(PathBuf::from(path));
            }
        }
        cache
    }

    /// The files that this name stands for.
    pub fn files(&self, name: &OsStr) -> &[PathBuf] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &Path)> {
        self.0
            .iter()
            .flat_map(|(name, files)| files.iter().map(|file| (name.as_os_str(), file.as_path())))
    }
}

/// The table of the newer format: offsets in it count from its own beginning.
fn newer(bytes: &[u8]) -> Option<&[u8]> {
    let table = match bytes.starts_with(OLD_MAGIC) {
        true => {
            let count = word(bytes, OLD_MAGIC.len())? as usize;
            let end = OLD_MAGIC.len() + 4 + count.checked_mul(OLD_ENTRY)?;
            bytes.get(end.checked_next_multiple_of(8)?..)?
        }
        false => bytes,
    };
    table.starts_with(MAGIC).then_some(table)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let (word, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

/// The longest name that the kernel takes.
const MAX_TEXT: usize = 4_096;

fn text(table: &[u8], at: u32) -> Option<&OsStr> {
    let rest = table.get(at as usize..)?;
    let rest = rest.get(..MAX_TEXT).unwrap_or(rest);
    let length = rest.iter().position(|byte| *byte == 0)?;
    let text = rest.get(..length)?;
    (!text.is_empty()).then(|| OsStr::from_bytes(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `ldconfig` would write of these.
    fn cache(entries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut table = MAGIC.to_vec();
        table.extend((entries.len() as u32).to_le_bytes());
        table.resize(HEADER, 0);
        let mut strings = Vec::new();
        let strings_at = HEADER + entries.len() * ENTRY;
        for (flags, name, path) in entries {
            table.extend(flags.to_le_bytes());
            for text in [name, path] {
                table.extend(((strings_at + strings.len()) as u32).to_le_bytes());
                strings.extend(text.bytes().chain([0]));
            }
            table.extend([0; 12]);
        }
        table.extend(strings);
        table
    }

    /// The same behind a table of the older format.
    fn behind_an_older_one(table: &[u8]) -> Vec<u8> {
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend([7; 3 * OLD_ENTRY]);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(table);
        bytes
    }

    const ENTRIES: [(u32, &str, &str); 4] = [
        (X86_64, "liba.so.1", "/lib/liba.so.1"),
        (0x0003, "liba.so.1", "/lib32/liba.so.1"),
        (X86_64, "liba.so.1", "/lib/glibc-hwcaps/x86-64-v3/liba.so.1"),
        (X86_64, "libb.so", "/opt/b/libb.so"),
    ];

    #[test]
    fn names_of_this_machine_only() {
        let table = cache(&ENTRIES);
        for bytes in [behind_an_older_one(&table), table] {
            let found = Cache::parse(&bytes);
            let files = |name: &str| found.files(OsStr::new(name)).to_vec();
            assert_eq!(
                files("liba.so.1"),
                [ENTRIES[0].2, ENTRIES[2].2].map(PathBuf::from)
            );
            assert_eq!(files("libb.so"), [PathBuf::from("/opt/b/libb.so")]);
            assert_eq!(found.iter().count(), 3);
            assert!(files("libc.so").is_empty());
        }
    }

    /// The C library itself is in every cache there is; where there is none, nothing is.
    #[test]
    fn the_machines_own() {
        let cache = Cache::of_machine();
        if !Path::new("/etc/ld.so.cache").exists() {
            assert_eq!(cache.iter().count(), 0);
            return;
        }
        let files = cache.files(OsStr::new("libc.so.6"));
        assert!(files.iter().any(|file| file.exists()), "{files:?}");
    }

    #[test]
    fn whatever_is_cut_off() {
        let table = behind_an_older_one(&cache(&ENTRIES));
        let whole = Cache::parse(&table);
        for length in 0..table.len() {
            let part = Cache::parse(&table[..length]);
            assert!(
                part.iter()
                    .all(|one| whole.iter().any(|other| one == other))
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes(garbage: Vec<u8>, places: Vec<(prop::sample::Index, u8)>) {
            let _ = Cache::parse(&garbage);
            let mut table = behind_an_older_one(&cache(&ENTRIES));
            for (place, byte) in places {
                let place = place.index(table.len());
                table[place] = byte;
            }
            let _ = Cache::parse(&table);
            let mut behind = MAGIC.to_vec();
            behind.extend(garbage);
            let _ = Cache::parse(&behind);
        }
    }
}
