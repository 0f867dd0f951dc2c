//! What is told to a connected profiler, and how it crosses the pipe to the process that tells it.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// Stands for a name that was told before: Tracy knows names by their addresses.
pub type NameId = u32;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Emit {
    /// From here on, `id` stands for this text.
    Name {
        id: NameId,
        text: String,
    },
    Alloc {
        pool: NameId,
        pointer: u64,
        size: u64,
    },
    Free {
        pool: NameId,
        pointer: u64,
    },
    /// Bytes.
    Plot {
        plot: NameId,
        bytes: i64,
    },
    Message {
        severity: Severity,
        text: String,
    },
    /// A refresh ended.
    Frame,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    Info,
    Warning,
    Error,
}

/// The most in one frame of the pipe.
const FRAME: usize = 4096;
/// A frame is far smaller: texts are cut before they get here.
const LARGEST: usize = 64 << 20;

/// Frames of the pipe: a length (four bytes, little-endian), then that much postcard.
pub fn encode(emits: &[Emit]) -> Result<Vec<u8>, postcard::Error> {
    let mut bytes = Vec::new();
    for some in emits.chunks(FRAME) {
        let at = bytes.len();
        bytes.extend([0; 4]);
        bytes = postcard::to_extend(some, bytes)?;
        let length = u32::try_from(bytes.len() - at - 4).unwrap_or(u32::MAX);
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    Ok(bytes)
}

/// The next frame; none where the pipe ended.
pub fn read(pipe: &mut impl Read) -> io::Result<Option<Vec<Emit>>> {
    let mut length = [0; 4];
    match pipe.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > LARGEST {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    pipe.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes)
        .map(Some)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_the_pipe() -> io::Result<()> {
        let emits: Vec<Emit> = (0..10_000)
            .map(|pointer| Emit::Free { pool: 1, pointer })
            .chain([Emit::Frame])
            .collect();
        let bytes = encode(&emits).map_err(io::Error::other)?;
        let mut pipe = bytes.as_slice();
        let mut read_back = Vec::new();
        while let Some(some) = read(&mut pipe)? {
            read_back.extend(some);
        }
        assert_eq!(read_back, emits);
        // Cut off inside a frame: an error, not an end.
        let mut cut = &bytes[..bytes.len() - 1];
        let last =
            std::iter::from_fn(|| Some(read(&mut cut))).find(|frame| !matches!(frame, Ok(Some(_))));
        assert!(matches!(last, Some(Err(_))), "{last:?}");
        Ok(())
    }
}
