//! Where the bytes of a library come from. Every read is checked against the file's size first,
//! so a header that promises more costs nothing.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    sync::{Mutex, PoisonError},
};

use object::pod::{self, Pod};

use super::{ElfError, reads::Reads};

#[derive(Debug)]
pub(super) enum Source {
    File {
        file: File,
        size: u64,
        reads: Mutex<Reads>,
    },
    Bytes(Vec<u8>),
}

impl Source {
    pub(super) fn file(file: &File) -> Result<Self, ElfError> {
        let file = file.try_clone()?;
        let size = file.metadata()?.len();
        Ok(Self::File {
            file,
            size,
            reads: Mutex::new(Reads::of(size)),
        })
    }

    /// All that was read so far, of a file.
    pub(super) fn reads(&self) -> Option<Reads> {
        match self {
            Self::File { reads, .. } => {
                Some(reads.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }
            Self::Bytes(_) => None,
        }
    }

    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }

    fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// `size` bytes from `offset`, all or an error.
    pub(super) fn read(
        &self,
        offset: u64,
        size: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, ElfError> {
        let end = offset.checked_add(size).ok_or(ElfError::Truncated(what))?;
        if end > self.size() {
            return Err(ElfError::Truncated(what));
        }
        let length = usize::try_from(size).map_err(|_| ElfError::Truncated(what))?;
        match self {
            Self::File { file, reads, .. } => {
                let mut bytes = vec![0; length];
                let done = file.read_exact_at(&mut bytes, offset);
                let mut reads = reads.lock().unwrap_or_else(PoisonError::into_inner);
                match done {
                    Ok(()) => reads.note(offset, &bytes),
                    Err(_) => reads.failed(),
                }
                done.map_err(|error| match error.kind() {
                    // It has shrunk since it was opened.
                    std::io::ErrorKind::UnexpectedEof => ElfError::Truncated(what),
                    _ => ElfError::Io(error),
                })?;
                Ok(bytes)
            }
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).map_err(|_| ElfError::Truncated(what))?;
                bytes
                    .get(start..)
                    .and_then(|rest| rest.get(..length))
                    .map(<[u8]>::to_vec)
                    .ok_or(ElfError::Truncated(what))
            }
        }
    }

    pub(super) fn one<T: Pod + Copy>(
        &self,
        offset: u64,
        what: &'static str,
    ) -> Result<T, ElfError> {
        let bytes = self.read(offset, size_of::<T>() as u64, what)?;
        pod::from_bytes::<T>(&bytes)
            .map(|(value, _)| *value)
            .map_err(|()| ElfError::Truncated(what))
    }

    pub(super) fn array<T: Pod + Copy>(
        &self,
        offset: u64,
        count: u64,
        what: &'static str,
    ) -> Result<Vec<T>, ElfError> {
        let size = count
            .checked_mul(size_of::<T>() as u64)
            .ok_or(ElfError::Truncated(what))?;
        let bytes = self.read(offset, size, what)?;
        entries::<T>(&bytes)
            .map(<[T]>::to_vec)
            .ok_or(ElfError::Truncated(what))
    }
}

/// The whole entries of a table; a rest is ignored.
pub(super) fn entries<T: Pod>(bytes: &[u8]) -> Option<&[T]> {
    pod::slice_from_bytes::<T>(bytes, bytes.len() / size_of::<T>())
        .ok()
        .map(|(entries, _)| entries)
}
