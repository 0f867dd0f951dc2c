//! What was read of a file, so that another can be known to say the same.
//!
//! A build id is what a file says of itself, and a file may lie. What is found out about a library follows from the
//! bytes that were read of it and from nothing else: another file that holds the same bytes at the same places would
//! lead to the same result, so there is no need to go through it again.

use std::{
    collections::BTreeMap,
    fs::File,
    hash::{BuildHasher as _, RandomState},
    os::unix::fs::FileExt as _,
};

/// Where was read, and a keyed hash of what was found there. Nobody outside knows the key, so nobody can make a file
/// that collides.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    key: RandomState,
    found: BTreeMap<(u64, usize), u64>,
    /// One place was read twice and held different bytes: the file changed meanwhile. What came of that holds for no
    /// file.
    changed: bool,
    /// The file's size: no more than that is ever tried to be read.
    size: u64,
}

/// The largest part that is compared at a time.
const PIECE: usize = 1 << 20;

impl Reads {
    pub(super) fn of(size: u64) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// It could not be read as far as its size said.
    pub(super) fn failed(&mut self) {
        self.changed = true;
    }

    pub(super) fn note(&mut self, offset: u64, bytes: &[u8]) {
        for (index, piece) in bytes.chunks(PIECE).enumerate() {
            let place = (offset + (index * PIECE) as u64, piece.len());
            let hash = self.key.hash_one(piece);
            let before = self.found.insert(place, hash);
            self.changed |= before.is_some_and(|before| before != hash);
        }
    }

    /// Whether this file holds the same bytes at all these places.
    pub fn hold_for(&self, file: &File) -> bool {
        let mut buffer = vec![0; PIECE];
        !self.changed
            && file.metadata().is_ok_and(|meta| meta.len() == self.size)
            && self.found.iter().all(|((offset, length), hash)| {
                let Some(piece) = buffer.get_mut(..*length) else {
                    return false;
                };
                file.read_exact_at(piece, *offset).is_ok() && self.key.hash_one(&*piece) == *hash
            })
    }

    /// How many bytes were read; those that were read twice count once, unless in other pieces.
    pub fn bytes(&self) -> u64 {
        self.found.keys().map(|(_, length)| *length as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    #[test]
    fn another_file_says_the_same() {
        let mut content = vec![7_u8; 3 << 20];
        let mut reads = Reads::of(3 << 20);
        reads.note(100, &content[100..2 << 20]);
        reads.note(0, &content[..64]);
        assert_eq!(reads.bytes(), (2 << 20) - 100 + 64);
        assert!(reads.hold_for(&file(&content)));
        // What was not read does not matter.
        content[80] = 1;
        content[(2 << 20) + 1] = 1;
        assert!(reads.hold_for(&file(&content)));
        content[(2 << 20) - 1] = 1;
        assert!(!reads.hold_for(&file(&content)));
        content.truncate(1 << 20);
        assert!(!reads.hold_for(&file(&content)));
    }

    /// Or one could make a copy of a library, change it while it is read, and have what came of that believed of the
    /// sound one.
    #[test]
    fn a_file_that_changed_says_nothing_of_others() {
        let mut reads = Reads::of(4);
        reads.note(0, b"good");
        assert!(reads.hold_for(&file(b"good")));
        reads.note(0, b"evil");
        assert!(!reads.hold_for(&file(b"good")));
        let mut reads = Reads::of(4);
        reads.note(0, b"bad!");
        reads.note(0, b"good");
        assert!(!reads.hold_for(&file(b"good")) && !reads.hold_for(&file(b"bad!")));
        // Nor where the places only overlap.
        let mut reads = Reads::of(4);
        reads.note(0, b"bad!");
        reads.note(1, b"ood");
        assert!(!reads.hold_for(&file(b"good")) && !reads.hold_for(&file(b"bad!")));
    }
}
