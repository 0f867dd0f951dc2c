//! A recording around payloads of any kind, by `docs/recording.md`: all checksums are right, so that what is behind
//! them is reached.

/// Stands before each frame of an input.
const MARK: &[u8; 4] = b"FRAM";
/// Frames that one input has.
const MOST: usize = 12;

/// Each piece of `data` between marks is a frame: kind, flags, parts, events, and how many seconds later than the one
/// before; where that is 255, eight bytes say when; the rest is the payload.
pub fn recording(data: &[u8]) -> Vec<u8> {
    let meta = br#"{"version":"0","started_at":"","refresh_ms":1000}"#;
    let mut file = b"\x89memmon\n".to_vec();
    for field in [1, meta.len() as u32, crc32fast::hash(meta)] {
        file.extend(field.to_le_bytes());
    }
    file.extend(meta);
    let mut now = 0_u64;
    for piece in pieces(data).into_iter().take(MOST) {
        let [kind, flags, parts, events, later, rest @ ..] = piece else {
            continue;
        };
        let mut payload = rest;
        now = match (later, rest.split_first_chunk()) {
            (255, Some((leap, left))) => {
                payload = left;
                u64::from_le_bytes(*leap)
            }
            _ => now.wrapping_add(u64::from(*later) * 1_000_000_000),
        };
        let packed = zstd::bulk::compress(payload, 1).unwrap_or_default();
        let mut header = vec![*kind, *flags];
        header.extend(u16::from(*parts).to_le_bytes());
        header.extend((packed.len() as u32).to_le_bytes());
        header.extend((payload.len() as u32).to_le_bytes());
        header.extend(crc32fast::hash(&packed).to_le_bytes());
        header.extend(u32::from(*events).to_le_bytes());
        header.extend(now.to_le_bytes());
        header.extend(now.wrapping_mul(3).to_le_bytes());
        file.extend(MARK);
        file.extend(crc32fast::hash(&header).to_le_bytes());
        file.extend(header);
        file.extend(packed);
    }
    file
}

fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.windows(MARK.len()).position(|four| four == MARK) {
        pieces.push(&rest[..end]);
        rest = &rest[end + MARK.len()..];
    }
    pieces.push(rest);
    pieces
}
