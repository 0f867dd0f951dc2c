//! What is mapped where in a process: `/proc/PID/maps`.

use std::{io, io::Read as _};

/// Mappings that are read of one process; Linux allows 65,530 unless told otherwise.
const MAX_REGIONS: usize = 1 << 18;
/// How much text that may be.
const MAX_TEXT: u64 = 64 << 20;

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub start: u64,
    pub end: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    /// Where in the file it starts.
    pub offset: u64,
    /// `major:minor`
    pub device: String,
    pub inode: u64,
    /// A path, something like `[heap]`, or nothing.
    pub name: String,
}

impl Region {
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is memory of the process alone: a heap or anonymous.
    pub fn is_anonymous(&self) -> bool {
        self.inode == 0
            && (self.name.is_empty() || self.name == "[heap]" || self.name.starts_with("[anon:"))
    }
}

/// The mappings of process `pid`, by address.
pub fn of_process(pid: u32) -> io::Result<Vec<Region>> {
    let mut text = Vec::new();
    std::fs::File::open(format!("/proc/{pid}/maps"))?
        .take(MAX_TEXT)
        .read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The mappings of a file in the form of `/proc/PID/maps`; lines that are none are left out.
pub fn parse(text: &str) -> Vec<Region> {
    text.lines()
        .filter_map(parse_line)
        .take(MAX_REGIONS)
        .collect()
}

fn parse_line(line: &str) -> Option<Region> {
    let mut rest = line;
    let mut field = || {
        let (field, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail.trim_start();
        field
    };
    let (start, end) = field().split_once('-')?;
    let access = field().as_bytes();
    let (offset, device, inode) = (field(), field(), field());
    Some(Region {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        readable: access.first() == Some(&b'r'),
        writable: access.get(1) == Some(&b'w'),
        executable: access.get(2) == Some(&b'x'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: device.to_owned(),
        inode: inode.parse().ok()?,
        name: rest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_others_left_out() {
        let text = "55d0-55d8 r-xp 00001000 fe:01 42                         /a b/lib c.so (deleted)\n\
                    nonsense\n\
                    \n\
                    7000-9000 rw-p 00000000 00:00 0 \n\
                    a000-b000 rw-p 00000000 00:00 0                          [heap]\n\
                    c000-c00z rw-p 00000000 00:00 0\n";
        let regions = parse(text);
        assert_eq!(regions.len(), 3);
        assert_eq!(regions[0].name, "/a b/lib c.so (deleted)");
        assert_eq!((regions[0].offset, regions[0].inode), (0x1000, 42));
        assert!(regions[0].executable && !regions[0].is_anonymous());
        assert!(regions[1].writable && regions[1].is_anonymous());
        assert_eq!(regions[1].len(), 0x2000);
        assert!(regions[2].is_anonymous());
    }

    #[test]
    fn this_process_has_a_heap_or_something() {
        let regions = of_process(std::process::id()).unwrap();
        assert!(regions.iter().any(|region| region.executable));
        assert!(regions.is_sorted_by_key(|region| region.start));
    }
}
