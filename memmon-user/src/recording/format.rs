//! The frame around everything: what a recording begins with, and what stands before each payload.

use std::io;

use serde::{Deserialize, Serialize};

use crate::tables::Filter;

/// Not text, and no file that was mangled as such.
pub const MAGIC: [u8; 8] = *b"\x89memmon\n";
/// Of what this program writes, and the only one it reads.
pub const VERSION: u32 = 1;
/// Before the meta text: magic, version, its length, and its checksum.
pub const FILE_HEADER: usize = 20;
pub const MAX_META: u32 = 1 << 20;

/// What every frame begins with.
pub const MARK: [u8; 4] = *b"FRAM";
pub const FRAME_HEADER: usize = 44;
/// The most that a payload may be, before and after it is unpacked.
pub const MAX_PAYLOAD: u32 = 64 << 20;

/// What was recorded, as JSON behind the magic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// The memmon that wrote it.
    pub version: String,
    /// RFC 3339.
    pub started_at: String,
    pub refresh_ms: u64,
    /// What was asked for: a view of the recording shows no more.
    pub filter: Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The whole state; what came before is not needed.
    Keyframe,
    Batches,
    /// The recording ended as it was asked to.
    End,
}

const KINDS: [(FrameKind, u8); 3] = [
    (FrameKind::Keyframe, 1),
    (FrameKind::Batches, 2),
    (FrameKind::End, 3),
];

pub mod flag {
    /// A failure, an ending or a notice is in it.
    pub const INCIDENTS: u8 = 1;
    /// (Keyframe) It does not follow from the frames before.
    pub const ANEW: u8 = 2;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    pub flags: u8,
    /// (Keyframe) How many of the frames that follow belong to it.
    pub parts: u16,
    /// Of the payload as it lies in the file.
    pub length: u32,
    /// Of the payload once it is unpacked.
    pub unpacked: u32,
    pub checksum: u32,
    pub events: u32,
    /// Of the last batch in it.
    pub boot_ns: u64,
    pub epoch_ns: u64,
}

impl FrameHeader {
    pub fn bytes(&self) -> [u8; FRAME_HEADER] {
        let Self {
            kind,
            flags,
            parts,
            length,
            unpacked,
            checksum,
            events,
            boot_ns,
            epoch_ns,
        } = self;
        let number = KINDS
            .iter()
            .find(|(known, _)| known == kind)
            .map_or(0, |(_, number)| *number);
        let mut bytes = [0; FRAME_HEADER];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            if let Some(to) = bytes.get_mut(at..at + field.len()) {
                to.copy_from_slice(field);
            }
            at += field.len();
        };
        put(&MARK);
        put(&[0; 4]);
        put(&[number, *flags]);
        put(&parts.to_le_bytes());
        put(&length.to_le_bytes());
        put(&unpacked.to_le_bytes());
        put(&checksum.to_le_bytes());
        put(&events.to_le_bytes());
        put(&boot_ns.to_le_bytes());
        put(&epoch_ns.to_le_bytes());
        let own = crc32fast::hash(bytes.get(8..).unwrap_or_default());
        if let Some(to) = bytes.get_mut(4..8) {
            to.copy_from_slice(&own.to_le_bytes());
        }
        bytes
    }

    /// None where this is no frame's header.
    pub fn of(bytes: &[u8; FRAME_HEADER]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let mark: [u8; 4] = fields.next()?;
        let own = u32::from_le_bytes(fields.next()?);
        if mark != MARK || own != crc32fast::hash(fields.0) {
            return None;
        }
        let [number, flags] = fields.next()?;
        let (kind, _) = KINDS.into_iter().find(|(_, known)| *known == number)?;
        let header = Self {
            kind,
            flags,
            parts: u16::from_le_bytes(fields.next()?),
            length: u32::from_le_bytes(fields.next()?),
            unpacked: u32::from_le_bytes(fields.next()?),
            checksum: u32::from_le_bytes(fields.next()?),
            events: u32::from_le_bytes(fields.next()?),
            boot_ns: u64::from_le_bytes(fields.next()?),
            epoch_ns: u64::from_le_bytes(fields.next()?),
        };
        (header.length <= MAX_PAYLOAD && header.unpacked <= MAX_PAYLOAD).then_some(header)
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, left) = self.0.split_first_chunk()?;
        self.0 = left;
        Some(*field)
    }
}

/// What a recording begins with.
pub fn file_header(meta: &Meta) -> io::Result<Vec<u8>> {
    let meta = serde_json::to_vec(meta)?;
    let length = u32::try_from(meta.len())
        .ok()
        .filter(|length| *length <= MAX_META)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32fast::hash(&meta).to_le_bytes());
    bytes.extend(meta);
    Ok(bytes)
}
