//! A whole map at once: a system call for thousands of entries, where stepping through takes two
//! for each. A million live allocations are read in a fraction of a second, beside the observer.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, OwnedFd},
};

use super::wire::Wire;

/// `BPF_MAP_LOOKUP_ELEM`.
const LOOKUP: libc::c_int = 1;
/// `BPF_MAP_LOOKUP_BATCH` (Linux 5.6).
const LOOKUP_BATCH: libc::c_int = 24;
/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM` (for hash maps: Linux 5.14).
const TAKE_OUT: libc::c_int = 21;
/// More than a bucket of a map ever holds, or the kernel asks for more.
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

/// The kernel's `union bpf_attr`, as the commands for one entry use it.
#[derive(Default)]
#[repr(C)]
struct EntryAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A hash map with these keys and values.
#[derive(Debug)]
pub struct Reader<K, V> {
    map: OwnedFd,
    entries: PhantomData<(K, V)>,
}

impl<K, V> Reader<K, V>
where
    K: Copy + Default,
    V: Copy + Default,
    Wire<K>: aya::Pod,
    Wire<V>: aya::Pod,
{
    /// `map` must have been checked to have keys and values of these sizes.
    pub(super) fn new(map: OwnedFd) -> Self {
        Self {
            map,
            entries: PhantomData,
        }
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::new(self.map.try_clone()?))
    }

    /// One entry, as it is now; none where there is none, or it cannot be read.
    pub fn get(&self, key: K) -> Option<V> {
        self.one(LOOKUP, key)
    }

    pub(super) fn take_out(&self, key: K) -> Option<V> {
        self.one(TAKE_OUT, key)
    }

    fn one(&self, number: libc::c_int, key: K) -> Option<V> {
        let mut keys = [key];
        let mut values = [V::default()];
        let mut attr = EntryAttr {
            map_fd: self.map.as_raw_fd().cast_unsigned(),
            key: address(&mut keys),
            value: address(&mut values),
            ..EntryAttr::default()
        };
        // SAFETY: key and value have the map's own sizes; the kernel writes no further.
        let done = unsafe { command(number, &mut attr) };
        let [value] = values;
        (done >= 0).then_some(value)
    }

    /// Every entry. What comes or goes meanwhile is among them or is not.
    pub fn read(&self, mut each: impl FnMut(K, V)) -> io::Result<()> {
        let mut keys = vec![K::default(); AT_A_TIME as usize];
        let mut values = vec![V::default(); AT_A_TIME as usize];
        // Where the next batch begins: a number, or a key; of no map of ours more than this.
        let (mut position, mut next) = ([0_u64; 8], [0_u64; 8]);
        let mut first = true;
        loop {
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { address(&mut position) },
                out_batch: address(&mut next),
                keys: address(&mut keys),
                values: address(&mut values),
                count: u32::try_from(keys.len()).unwrap_or(AT_A_TIME),
                map_fd: self.map.as_raw_fd().cast_unsigned(),
                ..BatchAttr::default()
            };
            let last = match lookup(&mut attr) {
                Ok(()) => false,
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOENT) => true,
                    Some(libc::ENOSPC) if keys.len() < MOST_AT_A_TIME as usize => {
                        keys.resize(keys.len() * 4, K::default());
                        values.resize(values.len() * 4, V::default());
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            for (key, value) in keys.iter().zip(&values).take(attr.count as usize) {
                each(*key, *value);
            }
            if last {
                return Ok(());
            }
            position = next;
            first = false;
        }
    }
}

fn address<T>(buffer: &mut [T]) -> u64 {
    buffer.as_mut_ptr().expose_provenance() as u64
}

/// The system call.
///
/// # Safety
///
/// Whatever addresses `attr` has must be good for what the command reads and writes there.
unsafe fn command<A>(number: libc::c_int, attr: &mut A) -> libc::c_long {
    // SAFETY: the caller's.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            number,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    }
}

fn lookup(attr: &mut BatchAttr) -> io::Result<()> {
    // SAFETY: `keys` and `values` have room for `count` entries of the map's own sizes, the
    // positions for a key; the kernel writes no further.
    let done = unsafe { command(LOOKUP_BATCH, attr) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
