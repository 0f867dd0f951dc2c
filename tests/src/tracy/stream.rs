//! Blocks of LZ4, and the items in them.

use std::{collections::VecDeque, io::Read, net::TcpStream};

use anyhow::{Context as _, Result, bail, ensure};

/// How far back a block may refer.
const HISTORY: usize = 64 << 10;
/// The most in a block.
const BLOCK: usize = 256 << 10;

/// `QueueType`, and the size of what follows it on the wire, header included, by its number.
/// Sizes of items that carry a text or block are of the part before it.
const SIZES: [u8; 132] = [
    1, 1, 10, 13, 10, 13, 9, 9, 9, 1, 1, 1, 13, 9, 7, 13, 9, 7, 10, 17, 13, 11, 17, 13, 11, 9, 5,
    3, 17, 17, 13, 17, 17, 17, 5, 27, 27, 21, 21, 27, 27, 21, 21, 21, 21, 24, 24, 16, 16, 16, 24,
    24, 16, 16, 16, 25, 21, 25, 23, 16, 12, 2, 10, 10, 13, 1, 1, 1, 25, 13, 15, 13, 3, 1, 1, 5, 26,
    18, 1, 17, 5, 4, 9, 17, 17, 17, 13, 32, 22, 13, 17, 17, 20, 17, 20, 28, 17, 13, 25, 17, 17, 17,
    17, 17, 17, 17, 16, 18, 1, 5, 1, 17, 1, 1, 1, 1, 9, 9, 24, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
    9,
];

pub mod kind {
    pub const MESSAGE: u8 = 2;
    pub const MESSAGE_COLOR: u8 = 3;
    pub const MEM_ALLOC: u8 = 35;
    pub const MEM_ALLOC_NAMED: u8 = 36;
    pub const MEM_FREE: u8 = 37;
    pub const MEM_FREE_NAMED: u8 = 38;
    pub const PLOT_INT: u8 = 55;
    pub const PLOT_FLOAT: u8 = 56;
    pub const PLOT_DOUBLE: u8 = 57;
    pub const TERMINATE: u8 = 73;
    pub const KEEP_ALIVE: u8 = 74;
    pub const THREAD_CONTEXT: u8 = 75;
    pub const CRASH: u8 = 78;
    pub const FRAME_MARK: u8 = 83;
    pub const PLOT_CONFIG: u8 = 106;
    pub const CPU_TOPOLOGY: u8 = 111;
    pub const SINGLE_STRING: u8 = 112;
    pub const SECOND_STRING: u8 = 113;
    pub const SINGLE_STRING_8: u8 = 114;
    pub const SECOND_STRING_8: u8 = 115;
    pub const MEM_NAME: u8 = 116;
    pub const STRING_DATA: u8 = 119;
    pub const THREAD_NAME: u8 = 120;
    pub const PLOT_NAME: u8 = 121;
    pub const FRAME_IMAGE_DATA: u8 = 126;
    pub const SYMBOL_CODE: u8 = 129;
    pub const SOURCE_CODE: u8 = 130;
}

/// One thing the client said.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: u8,
    /// Without the header.
    pub fields: Vec<u8>,
    pub text: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Stream {
    history: VecDeque<u8>,
}

impl Stream {
    pub fn next(&mut self, socket: &mut TcpStream) -> Result<Vec<Item>> {
        let mut size = [0; 4];
        socket
            .read_exact(&mut size)
            .context("the size of a block")?;
        let size = u32::from_le_bytes(size) as usize;
        ensure!(size <= BLOCK + BLOCK / 255 + 16, "a block of {size} bytes");
        let mut packed = vec![0; size];
        socket.read_exact(&mut packed).context("a block")?;
        let mut block = vec![0; BLOCK];
        let length = lz4_flex::block::decompress_into_with_dict(
            &packed,
            &mut block,
            self.history.make_contiguous(),
        )
        .context("a block is no LZ4")?;
        block.truncate(length);
        self.history.extend(&block);
        let old = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..old);
        items(&block)
    }
}

fn items(mut bytes: &[u8]) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    while let Some(&kind) = bytes.first() {
        let Some(size) = SIZES.get(usize::from(kind)) else {
            bail!("there is no item {kind}");
        };
        let fields = take(&mut bytes, usize::from(*size))?[1..].to_vec();
        let text = text_length(kind, &mut bytes)?;
        let text = take(&mut bytes, text)?.to_vec();
        items.push(Item { kind, fields, text });
    }
    Ok(items)
}

fn text_length(kind: u8, bytes: &mut &[u8]) -> Result<usize> {
    Ok(match kind {
        kind::SINGLE_STRING_8 | kind::SECOND_STRING_8 => usize::from(take(bytes, 1)?[0]),
        // Shorter ones come with a length of eight bits.
        kind::SINGLE_STRING | kind::SECOND_STRING => usize::from(u16_of(take(bytes, 2)?)) + 256,
        kind::FRAME_IMAGE_DATA | kind::SYMBOL_CODE | kind::SOURCE_CODE => {
            let length = take(bytes, 4)?;
            u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize
        }
        kind::STRING_DATA.. => usize::from(u16_of(take(bytes, 2)?)),
        _ => 0,
    })
}

fn u16_of(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = bytes
        .split_at_checked(length)
        .context("an item is cut off")?;
    *bytes = rest;
    Ok(taken)
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
