//! All live allocations at once, read beside the observer: a million of them take a fraction of a
//! second, in which the drain goes on.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use memmon_ebpf::ledger::{LiveKey, LiveValue};

/// `BPF_MAP_LOOKUP_BATCH` (Linux 5.6).
const LOOKUP_BATCH: libc::c_int = 24;
/// More than a bucket of the map ever holds, or the kernel asks for more.
const AT_A_TIME: u32 = 4096;
const MOST_AT_A_TIME: u32 = 1 << 20;

/// The kernel's `union bpf_attr`, as this command uses it.
#[derive(Default)]
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The map `LIVE`, for reading only.
#[derive(Debug)]
pub struct LiveReader {
    map: OwnedFd,
}

impl LiveReader {
    pub fn new(map: OwnedFd) -> Self {
        Self { map }
    }

    /// Every allocation. What comes or goes meanwhile is among them or is not.
    pub fn read(&self, mut each: impl FnMut(&LiveKey, &LiveValue)) -> io::Result<()> {
        let mut size = AT_A_TIME;
        // Where the next batch begins; as large as a key, which is what some maps put there.
        let mut position = LiveKey::default();
        let mut first = true;
        loop {
            let mut keys = vec![LiveKey::default(); size as usize];
            let mut values = vec![LiveValue::default(); size as usize];
            let mut next = LiveKey::default();
            let mut attr = BatchAttr {
                in_batch: if first {
                    0
                } else {
                    (&raw const position).addr() as u64
                },
                out_batch: (&raw mut next).addr() as u64,
                keys: keys.as_mut_ptr().expose_provenance() as u64,
                values: values.as_mut_ptr().expose_provenance() as u64,
                count: size,
                map_fd: self.map.as_raw_fd().cast_unsigned(),
                ..BatchAttr::default()
            };
            match lookup(&mut attr) {
                Ok(()) => {}
                // The last batch.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    report(&keys, &values, attr.count, &mut each);
                    return Ok(());
                }
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC) && size < MOST_AT_A_TIME =>
                {
                    size *= 4;
                    continue;
                }
                Err(error) => return Err(error),
            }
            report(&keys, &values, attr.count, &mut each);
            position = next;
            first = false;
        }
    }
}

fn report(
    keys: &[LiveKey],
    values: &[LiveValue],
    count: u32,
    each: &mut impl FnMut(&LiveKey, &LiveValue),
) {
    for (key, value) in keys.iter().zip(values).take(count as usize) {
        each(key, value);
    }
}

fn lookup(attr: &mut BatchAttr) -> io::Result<()> {
    // SAFETY: `keys` and `values` have room for `count` entries of the map's own sizes, the
    // positions for a key; the kernel writes no further.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LOOKUP_BATCH,
            std::ptr::from_mut(attr),
            size_of::<BatchAttr>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
