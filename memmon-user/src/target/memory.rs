//! Reading a target's memory: bounded, never writing, never stopping it.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// Bytes of an address space.
pub trait Memory {
    /// Fills `buffer` from `address`, or fails.
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()>;

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
pub struct ProcessMemory(File);

impl ProcessMemory {
    /// Needs CAP_SYS_PTRACE, or to be the process's own user.
    pub fn open(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/mem")).map(Self)
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, address)
    }
}
