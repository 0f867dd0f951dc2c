//! A map of the ledger: its entries one by one, and all at once.

use std::{io, os::fd::AsFd as _, thread, time::Duration};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, Map, MapData, MapError},
};

use super::{batch::Reader, wire::Wire};

const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;

/// How often an entry is offered again that the kernel had no memory for just then, and after how long.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_micros(100);

/// What became of an entry that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Added {
    New,
    /// The key is there already, and stays as it is.
    There,
    /// There is no room for it.
    Full,
}

#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Table<K, V>
where
    Wire<K>: Pod,
    Wire<V>: Pod,
{
    map: HashMap<MapData, Wire<K>, Wire<V>>,
    reader: Reader<K, V>,
}

impl<K, V> Table<K, V>
where
    K: Copy + Default,
    V: Copy + Default,
    Wire<K>: Pod,
    Wire<V>: Pod,
{
    /// None where the object has no such map.
    pub fn take(ebpf: &mut Ebpf, name: &str) -> Option<Result<Self, MapError>> {
        let map = ebpf.take_map(name)?;
        Some(Self::new(map))
    }

    fn new(map: Map) -> Result<Self, MapError> {
        let fd = match &map {
            Map::HashMap(data) => data.fd().as_fd().try_clone_to_owned()?,
            _ => {
                return Err(MapError::InvalidName {
                    name: "a hash map is needed".to_owned(),
                });
            }
        };
        Ok(Self {
            // Checks the sizes, for the reader too.
            map: HashMap::try_from(map)?,
            reader: Reader::new(fd),
        })
    }

    pub fn get(&self, key: K) -> Option<V> {
        self.map.get(&Wire(key), 0).ok().map(|Wire(value)| value)
    }

    pub fn add(&mut self, key: K, value: V) -> Added {
        match self.insert(key, value, NO_EXIST) {
            Ok(()) => Added::New,
            Err(error) if errno(&error) == Some(libc::EEXIST) => Added::There,
            Err(_) => Added::Full,
        }
    }

    /// False where the key is not there.
    pub fn change(&mut self, key: K, value: V) -> bool {
        self.insert(key, value, EXIST).is_ok()
    }

    /// The kernel keeps some memory at hand for entries. Whoever takes it faster than it is filled up, or meets somebody
    /// who holds the bucket, is refused for a moment.
    fn insert(&mut self, key: K, value: V, flags: u64) -> Result<(), MapError> {
        let mut tries = TRIES;
        loop {
            let result = self.map.insert(&Wire(key), &Wire(value), flags);
            let refused = result.as_ref().err().and_then(errno);
            let passes = matches!(refused, Some(libc::ENOMEM | libc::EBUSY | libc::EAGAIN));
            if tries == 0 || !passes {
                return result;
            }
            tries -= 1;
            thread::sleep(PAUSE);
        }
    }

    pub fn remove(&mut self, key: K) {
        let _ = self.map.remove(&Wire(key));
    }

    /// Removes an entry and says what it was, at one moment. None where it is not there, or the
    /// kernel has no such command for hash maps (before 5.14).
    pub fn take_out(&mut self, key: K) -> Option<V> {
        self.reader.take_out(key)
    }

    /// Every entry, as it is now.
    pub fn all(&self) -> Vec<(K, V)> {
        let mut entries = Vec::new();
        if self
            .reader
            .read(|key, value| entries.push((key, value)))
            .is_ok()
        {
            return entries;
        }
        // A kernel without this command.
        self.map
            .iter()
            .flatten()
            .map(|(Wire(key), Wire(value))| (key, value))
            .collect()
    }

    /// Reads it from another thread.
    pub fn reader(&self) -> io::Result<Reader<K, V>> {
        self.reader.try_clone()
    }
}

fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}
