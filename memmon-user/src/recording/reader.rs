//! A recording that is there to be read.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use super::{
    format::{FrameKind, Meta},
    index::{self, Bytes, FileBytes, Frame, Index},
    payload,
    varint::Malformed,
};
use crate::tables::Batch;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is no recording; `memmon-ebpf record -o FILE` makes one")]
    NotARecording,
    #[error(
        "it is a recording of format {0}, and this memmon-ebpf reads format {version}; use the one that wrote it",
        version = super::VERSION
    )]
    Version(u32),
    #[error("it is a recording that is damaged at its very beginning: nothing can be told from it")]
    Damaged,
    #[error("it is the beginning of a recording: it was cut off before anything was in it")]
    Nothing,
}

/// A frame that was proved whole, and yet cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the recording makes no sense at byte {offset}: it was not written by memmon-ebpf")]
    Malformed { offset: u64 },
}

pub struct Recording {
    bytes: Box<dyn Bytes + Send + Sync>,
    index: Index,
}

impl fmt::Debug for Recording {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Recording")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub boot_ns: u64,
    pub epoch_ns: u64,
}

impl Recording {
    /// `-` is standard input, which is copied to a file without a name first.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = if path == Path::new("-") {
            let mut copy = tempfile::tempfile()?;
            io::copy(&mut io::stdin().lock(), &mut copy)?;
            copy
        } else {
            let mut file = File::open(path)?;
            let about = file.metadata()?;
            if about.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
            }
            if about.is_file() {
                file
            } else {
                let mut copy = tempfile::tempfile()?;
                io::copy(&mut file.by_ref(), &mut copy)?;
                copy
            }
        };
        // One that is still being written is read as far as it is now.
        let length = file.metadata()?.len();
        Self::of(Box::new(FileBytes { file, length }))
    }

    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self, OpenError> {
        Self::of(Box::new(bytes))
    }

    fn of(bytes: Box<dyn Bytes + Send + Sync>) -> Result<Self, OpenError> {
        let index = index::build(bytes.as_ref())?;
        Ok(Self { bytes, index })
    }

    pub fn meta(&self) -> &Meta {
        &self.index.meta
    }

    pub fn notes(&self) -> &[String] {
        &self.index.notes
    }

    pub(super) fn frames(&self) -> &[Frame] {
        &self.index.frames
    }

    pub fn events(&self) -> u64 {
        self.frames()
            .last()
            .map_or(0, |last| last.events_before + u64::from(last.header.events))
    }

    /// How many lie before a moment, to a frame.
    pub fn events_before(&self, boot_ns: u64) -> u64 {
        let frames = self.frames();
        let at = frames.partition_point(|frame| frame.header.boot_ns < boot_ns);
        let frame = frames.get(at);
        frame.map_or_else(|| self.events(), |frame| frame.events_before)
    }

    pub fn start(&self) -> Stamp {
        self.frames().first().map(Frame::stamp).unwrap_or_default()
    }

    pub fn end(&self) -> Stamp {
        self.frames()
            .iter()
            .map(Frame::stamp)
            .max_by_key(|stamp| stamp.boot_ns)
            .unwrap_or_default()
    }

    /// The moment of a time on the wall clock, which may have been set meanwhile.
    pub fn at_epoch(&self, epoch_ns: u64) -> Stamp {
        let frame = self
            .frames()
            .iter()
            .find(|frame| frame.header.epoch_ns >= epoch_ns);
        let known = frame.map_or_else(|| self.end(), Frame::stamp);
        let boot_ns = i128::from(known.boot_ns) + i128::from(epoch_ns) - i128::from(known.epoch_ns);
        Stamp {
            boot_ns: u64::try_from(boot_ns).unwrap_or_default(),
            epoch_ns,
        }
    }

    /// The keyframe to start from: the last that is not beyond.
    pub(super) fn keyframe(&self, is_beyond: impl Fn(&Frame) -> bool) -> usize {
        let frames = self.frames();
        // Frames are in order, so that it can be looked for by halves.
        let end = frames.partition_point(|frame| !is_beyond(frame));
        frames
            .get(..end)
            .unwrap_or_default()
            .iter()
            .rposition(|frame| frame.header.kind == FrameKind::Keyframe)
            .unwrap_or(0)
    }

    pub(super) fn load(&self, frame: &Frame) -> Result<Vec<Batch>, ReadError> {
        let mut packed = vec![0; frame.header.length as usize];
        self.bytes.read_at(frame.offset, &mut packed)?;
        let malformed = |_: Malformed| ReadError::Malformed {
            offset: frame.offset,
        };
        let bytes = payload::unpack(&packed, frame.header.unpacked).map_err(malformed)?;
        let (batches, _) = payload::read(&bytes).map_err(malformed)?;
        Ok(batches)
    }
}

impl Frame {
    pub fn stamp(&self) -> Stamp {
        Stamp {
            boot_ns: self.header.boot_ns,
            epoch_ns: self.header.epoch_ns,
        }
    }
}
