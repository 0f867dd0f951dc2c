//! Reading a target's memory: bounded, never writing, never stopping it.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// Bytes of an address space.
pub trait Memory {
    /// Fills `buffer` from `address`, or fails.
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The parts of a range that hold anything, in order; none where that cannot be told. What is
    /// left out was never written to: reading it would give it memory.
    fn touched(&self, _start: u64, _end: u64) -> Option<Vec<(u64, u64)>> {
        None
    }

    fn read_u64(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn read_u32(&self, address: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

/// The memory of a running process, through `/proc/PID/mem`.
#[derive(Debug)]
pub struct ProcessMemory {
    memory: File,
    /// Which of its pages there are.
    pages: Option<File>,
}

const PAGE: u64 = 4_096;
/// In an entry of `/proc/PID/pagemap`: the page is there, or swapped out.
const THERE: u64 = 1 << 63 | 1 << 62;
/// Pages whose entries are read at one time.
const AT_A_TIME: u64 = 1 << 16;

impl ProcessMemory {
    /// Needs CAP_SYS_PTRACE, or to be the process's own user.
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self {
            memory: File::open(format!("/proc/{pid}/mem"))?,
            pages: File::open(format!("/proc/{pid}/pagemap")).ok(),
        })
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.memory.read_exact_at(buffer, address)
    }

    fn touched(&self, start: u64, end: u64) -> Option<Vec<(u64, u64)>> {
        let pages = self.pages.as_ref()?;
        let mut parts: Vec<(u64, u64)> = Vec::new();
        let (mut page, last) = (start / PAGE, end.div_ceil(PAGE));
        let mut entries = Vec::new();
        while page < last {
            let count = AT_A_TIME.min(last - page);
            entries.resize(usize::try_from(count * 8).ok()?, 0);
            pages.read_exact_at(&mut entries, page * 8).ok()?;
            for (index, entry) in entries.as_chunks::<8>().0.iter().enumerate() {
                if u64::from_le_bytes(*entry) & THERE == 0 {
                    continue;
                }
                let at = (page + index as u64) * PAGE;
                match parts.last_mut() {
                    Some((_, end)) if *end == at => *end = at + PAGE,
                    _ => parts.push((at, at + PAGE)),
                }
            }
            page += count;
        }
        Some(parts)
    }
}
