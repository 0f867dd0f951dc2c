//! What lies where in a recording: found by hopping from frame to frame, each proved whole. What is
//! damaged is passed over, up to the next frame that needs nothing of what came before.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::{
    format::{
        FILE_HEADER, FRAME_HEADER, FrameHeader, FrameKind, MAGIC, MARK, MAX_META, Meta, VERSION,
        flag,
    },
    reader::OpenError,
};
use crate::clock;

/// Bytes of a recording.
pub trait Bytes {
    fn length(&self) -> u64;
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()>;
}

#[derive(Debug)]
pub struct FileBytes {
    pub file: File,
    pub length: u64,
}

impl Bytes for FileBytes {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, offset)
    }
}

impl Bytes for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok();
        let bytes = from
            .and_then(|from| self.get(from..)?.get(..to.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(bytes);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub header: FrameHeader,
    /// Of its payload.
    pub offset: u64,
    /// Events in the frames before it.
    pub events_before: u64,
    /// (Keyframe) It does not follow from what is before it.
    pub anew: bool,
}

#[derive(Debug, Default)]
pub struct Index {
    pub meta: Meta,
    pub frames: Vec<Frame>,
    /// What the reader should know: where it is damaged, how it ends.
    pub notes: Vec<String>,
}

/// Looks at all of it.
pub fn build(bytes: &dyn Bytes) -> Result<Index, OpenError> {
    let (meta, mut offset) = meta(bytes)?;
    let mut index = Index {
        meta,
        ..Index::default()
    };
    // Keyframes that are not all there yet: so many parts are missing.
    let mut missing = 0_u16;
    let mut broken = false;
    let mut ended = false;
    let mut events = 0_u64;
    let mut payload = Vec::new();
    while offset < bytes.length() {
        let Some(header) = frame(bytes, offset, &mut payload)? else {
            broken = true;
            index.drop_incomplete(&mut missing);
            let next = next_mark(bytes, offset + 1)?;
            let what = match next {
                Some(next) => format!("{} bytes are damaged and left out", next - offset),
                None => format!(
                    "its end is cut off or damaged: {} bytes are left out",
                    bytes.length() - offset
                ),
            };
            index.notes.push(format!("at byte {offset}, {what}"));
            let Some(next) = next else { break };
            offset = next;
            continue;
        };
        let frame = Frame {
            header,
            offset: offset + FRAME_HEADER as u64,
            events_before: events,
            anew: broken || header.flags & flag::ANEW != 0,
        };
        offset = frame.offset + u64::from(header.length);
        ended = header.kind == FrameKind::End;
        match header.kind {
            FrameKind::End => continue,
            FrameKind::Keyframe => {
                index.drop_incomplete(&mut missing);
                missing = header.parts;
                broken = false;
            }
            // Changes of something that is not known.
            FrameKind::Batches if broken || index.frames.is_empty() => continue,
            FrameKind::Batches => missing = missing.saturating_sub(1),
        }
        events += u64::from(header.events);
        index.frames.push(frame);
    }
    index.drop_incomplete(&mut missing);
    if index.frames.is_empty() {
        return Err(OpenError::Nothing);
    }
    if !ended && index.notes.is_empty() {
        index
            .notes
            .push("it was not ended: its writer crashed, or is still at work".to_owned());
    }
    index.note_clock();
    Ok(index)
}

impl Index {
    /// A keyframe without all of its parts is none.
    fn drop_incomplete(&mut self, missing: &mut u16) {
        if *missing == 0 {
            return;
        }
        *missing = 0;
        let keyframe = self
            .frames
            .iter()
            .rposition(|frame| frame.header.kind == FrameKind::Keyframe);
        self.frames.truncate(keyframe.unwrap_or(0));
    }

    /// Where its times jump.
    fn note_clock(&mut self) {
        const SECOND: u128 = 1_000_000_000;
        for (before, frame) in self.frames.iter().zip(self.frames.iter().skip(1)) {
            let (before, after) = (before.stamp(), frame.stamp());
            let set = after.set_since(&before);
            if set == 0 {
                continue;
            }
            let way = if set < 0 { "back" } else { "forward" };
            let by = set.unsigned_abs();
            self.notes.push(format!(
                "after {}, the wall clock was set {way} by {}.{} s: its times jump there; `--at +SECONDS` counts from the start, whatever the clock",
                clock::rfc3339(before.epoch_ns.into()).unwrap_or_default(),
                by / SECOND,
                by % SECOND * 10 / SECOND,
            ));
        }
    }
}

fn meta(bytes: &dyn Bytes) -> Result<(Meta, u64), OpenError> {
    let mut start = [0; FILE_HEADER];
    let whole = bytes.length() >= FILE_HEADER as u64;
    let read = if whole {
        FILE_HEADER
    } else {
        bytes.length() as usize
    };
    bytes.read_at(0, start.get_mut(..read).unwrap_or_default())?;
    let begins = MAGIC.iter().zip(&start).take_while(|(a, b)| a == b).count();
    if begins < MAGIC.len().min(read) || read == 0 {
        return Err(OpenError::NotARecording);
    }
    if !whole {
        return Err(OpenError::Nothing);
    }
    let field = |at: usize| {
        let bytes = start.get(at..).and_then(|field| field.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let (version, length, checksum) = (field(8), field(12), field(16));
    if version != VERSION {
        return Err(OpenError::Version(version));
    }
    let end = FILE_HEADER as u64 + u64::from(length);
    if length > MAX_META {
        return Err(OpenError::Damaged);
    }
    if end > bytes.length() {
        return Err(OpenError::Nothing);
    }
    let mut text = vec![0; length as usize];
    bytes.read_at(FILE_HEADER as u64, &mut text)?;
    if crc32fast::hash(&text) != checksum {
        return Err(OpenError::Damaged);
    }
    let meta = serde_json::from_slice(&text).map_err(|_| OpenError::Damaged)?;
    Ok((meta, end))
}

/// The frame at this place; none where there is no whole one.
fn frame(
    bytes: &dyn Bytes,
    offset: u64,
    payload: &mut Vec<u8>,
) -> Result<Option<FrameHeader>, OpenError> {
    let mut header = [0; FRAME_HEADER];
    let start = offset + FRAME_HEADER as u64;
    if start > bytes.length() {
        return Ok(None);
    }
    bytes.read_at(offset, &mut header)?;
    let Some(header) = FrameHeader::of(&header) else {
        return Ok(None);
    };
    if start + u64::from(header.length) > bytes.length() {
        return Ok(None);
    }
    payload.resize(header.length as usize, 0);
    bytes.read_at(start, payload)?;
    Ok((crc32fast::hash(payload) == header.checksum).then_some(header))
}

/// Where the next frame may begin.
fn next_mark(bytes: &dyn Bytes, mut offset: u64) -> Result<Option<u64>, OpenError> {
    const WINDOW: usize = 1 << 16;
    let mut window = vec![0; WINDOW];
    while offset + FRAME_HEADER as u64 <= bytes.length() {
        let length =
            usize::try_from(bytes.length() - offset).map_or(WINDOW, |left| left.min(WINDOW));
        let window = window.get_mut(..length).unwrap_or_default();
        bytes.read_at(offset, window)?;
        if let Some(at) = window.windows(MARK.len()).position(|four| four == MARK) {
            return Ok(Some(offset + at as u64));
        }
        offset += (length - (MARK.len() - 1).min(length - 1)) as u64;
    }
    Ok(None)
}
