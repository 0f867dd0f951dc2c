//! The BPF maps that a process holds, as the kernel itself tells their size.

use std::fs;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use memmon_ebpf::ledger::{
    LiveKey, LiveValue, OwnerKey, OwnerValue, PendingKey, PendingValue, ProcValue, RowKey, RowValue,
};

/// What `/proc/PID/fdinfo` says of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMap {
    pub id: u32,
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    /// Bytes of kernel memory. Of a hash map that is not allocated in advance, these grow and shrink with its entries
    /// (Linux 6.4).
    pub bytes: u64,
}

const HASH: u32 = 1;

/// All maps of a process, each once.
pub fn of_process(pid: u32) -> Result<Vec<KernelMap>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut maps: Vec<KernelMap> = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        if let Some(map) = parse(&text)
            && !maps.iter().any(|known| known.id == map.id)
        {
            maps.push(map);
        }
    }
    Ok(maps)
}

fn parse(text: &str) -> Option<KernelMap> {
    let field = |name: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
            .trim()
            .parse()
            .ok()
    };
    let small = |name: &str| u32::try_from(field(name)?).ok();
    Some(KernelMap {
        id: small("map_id")?,
        kind: small("map_type")?,
        key_bytes: small("key_size")?,
        value_bytes: small("value_size")?,
        bytes: field("memlock")?,
    })
}

/// Entries of the ledger's maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    pub live: usize,
    pub rows: usize,
    pub owners: usize,
    pub processes: usize,
    pub pending: usize,
}

impl Entries {
    pub fn sum(&self) -> usize {
        self.live + self.rows + self.owners + self.processes + self.pending
    }
}

/// Counts the entries of these maps. What comes and goes meanwhile may be counted or not.
pub fn entries(maps: &[KernelMap]) -> Result<Entries> {
    Ok(Entries {
        live: count::<LiveKey, LiveValue, 24, 56>(maps)?,
        rows: count::<RowKey, RowValue, 32, 80>(maps)?,
        owners: count::<OwnerKey, OwnerValue, 24, 24>(maps)?,
        processes: count::<u32, ProcValue, 4, 24>(maps)?,
        pending: count::<PendingKey, PendingValue, 8, 80>(maps)?,
    })
}

fn count<K, V, const KEY: usize, const VALUE: usize>(maps: &[KernelMap]) -> Result<usize> {
    const { assert!(size_of::<K>() == KEY && size_of::<V>() == VALUE) }
    let map = maps.iter().find(|map| {
        map.kind == HASH && map.key_bytes as usize == KEY && map.value_bytes as usize == VALUE
    });
    let map = map.with_context(|| format!("it has no hash map {KEY} → {VALUE}"))?;
    let data = MapData::from_id(map.id)?;
    let map = HashMap::<_, [u8; KEY], [u8; VALUE]>::try_from(Map::HashMap(data))?;
    Ok(map.keys().flatten().count())
}
