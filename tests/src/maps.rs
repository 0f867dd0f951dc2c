//! The BPF maps of a running daemon, looked into from outside: how large they are, and what it leaves
//! behind in them.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Pod,
    maps::{HashMap, Map, MapData, MapInfo},
};
use memmon_ebpf::ledger::{
    LiveKey, LiveValue, OwnerKey, OwnerValue, PendingKey, PendingValue, ProcValue, RowKey, RowValue,
};

/// The maps that a process has open, each once.
#[derive(Debug)]
pub struct Maps(Vec<Open>);

#[derive(Debug)]
struct Open {
    id: u32,
    name: String,
    /// Bytes of kernel memory. Of a hash map that is not allocated in advance, these grow and shrink with its entries
    /// (Linux 6.4).
    bytes: u64,
}

/// How many entries the ledger's maps have.
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

impl Maps {
    pub fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut maps: Vec<Open> = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let Ok(text) = fs::read_to_string(entry?.path()) else {
                continue;
            };
            let Some(id) = field(&text, "map_id") else {
                continue;
            };
            let id = u32::try_from(id)?;
            if maps.iter().any(|known| known.id == id) {
                continue;
            }
            maps.push(Open {
                id,
                name: MapInfo::from_id(id)?
                    .name_as_str()
                    .context("a name")?
                    .to_owned(),
                bytes: field(&text, "memlock").context("memlock")?,
            });
        }
        Ok(Self(maps))
    }

    /// Bytes of kernel memory in all of them, when they were looked at.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|map| map.bytes).sum()
    }

    fn open<const K: usize, const V: usize>(
        &self,
        name: &str,
    ) -> Result<HashMap<MapData, [u8; K], [u8; V]>>
    where
        [u8; K]: Pod,
        [u8; V]: Pod,
    {
        let map = self.0.iter().find(|map| map.name == name);
        let id = map.with_context(|| format!("no map {name}"))?.id;
        let map = Map::HashMap(MapData::from_id(id)?);
        Ok(HashMap::try_from(map)?)
    }

    fn entries<const K: usize, const V: usize>(&self, name: &str) -> Result<Vec<([u8; K], [u8; V])>>
    where
        [u8; K]: Pod,
        [u8; V]: Pod,
    {
        // What goes while it is read is none.
        Ok(self.open(name)?.iter().filter_map(Result::ok).collect())
    }

    fn count<const K: usize, const V: usize>(&self, name: &str) -> Result<usize>
    where
        [u8; K]: Pod,
        [u8; V]: Pod,
    {
        Ok(self.open::<K, V>(name)?.keys().flatten().count())
    }

    /// What comes and goes meanwhile may be counted or not.
    pub fn counts(&self) -> Result<Entries> {
        Ok(Entries {
            live: self.live()?,
            rows: self.count::<{ size_of::<RowKey>() }, { size_of::<RowValue>() }>("ROWS")?,
            owners: self
                .count::<{ size_of::<OwnerKey>() }, { size_of::<OwnerValue>() }>("OWNERS")?,
            processes: self.count::<{ size_of::<u32>() }, { size_of::<ProcValue>() }>("PROCS")?,
            pending: self.pending()?,
        })
    }

    /// Live allocations that are remembered.
    pub fn live(&self) -> Result<usize> {
        self.count::<{ size_of::<LiveKey>() }, { size_of::<LiveValue>() }>("LIVE")
    }

    /// Threads with a place for what they are allocating.
    pub fn pending(&self) -> Result<usize> {
        self.count::<{ size_of::<PendingKey>() }, { size_of::<PendingValue>() }>("PENDING")
    }

    /// What belongs to nobody who runs.
    pub fn orphans(&self) -> Result<Vec<String>> {
        let mut orphans = Vec::new();
        // A process has its number before anything of it is there.
        let mut owned = Vec::new();
        owned.extend(procs(
            "ROWS",
            &self.entries::<{ size_of::<RowKey>() }, { size_of::<RowValue>() }>("ROWS")?,
        ));
        owned.extend(procs(
            "OWNERS",
            &self.entries::<{ size_of::<OwnerKey>() }, { size_of::<OwnerValue>() }>("OWNERS")?,
        ));
        owned.extend(procs(
            "LIVE",
            &self.entries::<{ size_of::<LiveKey>() }, { size_of::<LiveValue>() }>("LIVE")?,
        ));
        let mut numbered = HashSet::new();
        for (pid, value) in
            self.entries::<{ size_of::<u32>() }, { size_of::<ProcValue>() }>("PROCS")?
        {
            let pid = u32::from_le_bytes(pid);
            numbered.insert(number(&value));
            if !runs(pid) {
                orphans.push(format!("PROCS: {pid}"));
            }
        }
        for (map, proc) in owned {
            if !numbered.contains(&proc) {
                orphans.push(format!("{map}: process {proc}"));
            }
        }
        for (key, _) in
            self.entries::<{ size_of::<PendingKey>() }, { size_of::<PendingValue>() }>("PENDING")?
        {
            let tid = number(&key) & u64::from(u32::MAX);
            if !runs(tid as u32) {
                orphans.push(format!("PENDING: thread {tid}"));
            }
        }
        Ok(orphans)
    }

    /// Waits until nothing is left of whoever ended.
    pub fn settle(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let orphans = self.orphans()?;
            if orphans.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "{} are left: {:?}",
                    orphans.len(),
                    &orphans[..orphans.len().min(20)]
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A number in `/proc/PID/fdinfo/N`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
        .trim()
        .parse()
        .ok()
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |first| u64::from_le_bytes(*first))
}

fn procs<const K: usize, const V: usize>(
    map: &'static str,
    entries: &[([u8; K], [u8; V])],
) -> Vec<(&'static str, u64)> {
    entries.iter().map(|(key, _)| (map, number(key))).collect()
}

/// A process or a thread, and no zombie.
fn runs(id: u32) -> bool {
    fs::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}
