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

    /// The moment of a time on the wall clock. Where the clock was set meanwhile, a time that came
    /// twice is the first, and one that was left out is when the clock was set.
    pub fn at_epoch(&self, epoch_ns: u64) -> Stamp {
        let start = self.start();
        let mut known = start;
        for frame in self.frames() {
            let stamp = frame.stamp();
            // By the clock as it went after it was set in between, else as it went before.
            let after = stamp.boot_of(epoch_ns);
            let before = known.boot_of(epoch_ns);
            let between = known.boot_ns..=stamp.boot_ns;
            let boot_ns = if between.contains(&after) {
                after
            } else if between.contains(&before) {
                before
            } else if (known.epoch_ns..stamp.epoch_ns).contains(&epoch_ns) {
                known.boot_ns
            } else {
                known = stamp;
                continue;
            };
            return Stamp { boot_ns, epoch_ns };
        }
        let nearest = if epoch_ns < start.epoch_ns {
            start
        } else {
            self.end()
        };
        Stamp {
            boot_ns: nearest.boot_of(epoch_ns),
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

impl Stamp {
    /// When it is this time by the wall clock as it is set at this moment; the nearest that there
    /// is, where that lies before the machine booted.
    fn boot_of(&self, epoch_ns: u64) -> u64 {
        let boot_ns = i128::from(self.boot_ns) + i128::from(epoch_ns) - i128::from(self.epoch_ns);
        u64::try_from(boot_ns.max(0)).unwrap_or(u64::MAX)
    }

    /// By how much the wall clock was set forward since an earlier moment, in nanoseconds; what
    /// mere steering of it may amount to is nothing.
    pub(super) fn set_since(&self, earlier: &Self) -> i128 {
        const SLACK_NS: i128 = 1_000_000_000;
        let passed = i128::from(self.boot_ns) - i128::from(earlier.boot_ns);
        let shown = i128::from(self.epoch_ns) - i128::from(earlier.epoch_ns);
        let set = shown - passed;
        // The kernel steers by half a thousandth at the most.
        match set.abs() > SLACK_NS + passed.abs() / 1000 {
            true => set,
            false => 0,
        }
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
