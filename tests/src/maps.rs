//! The BPF maps of a running daemon, looked into from outside: what it leaves behind in them.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Pod,
    maps::{HashMap, Map, MapData, MapInfo},
};

/// The maps that a process has open, by name.
#[derive(Debug)]
pub struct Maps(BTreeMap<String, u32>);

impl Maps {
    pub fn of(pid: u32) -> Result<Self> {
        let mut maps = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
            let Ok(text) = fs::read_to_string(entry.path()) else {
                continue;
            };
            let Some(id) = text.lines().find_map(|line| line.strip_prefix("map_id:")) else {
                continue;
            };
            let id = id.trim().parse()?;
            let info = MapInfo::from_id(id)?;
            maps.insert(info.name_as_str().context("a name")?.to_owned(), id);
        }
        Ok(Self(maps))
    }

    fn entries<const K: usize, const V: usize>(&self, name: &str) -> Result<Vec<([u8; K], [u8; V])>>
    where
        [u8; K]: Pod,
        [u8; V]: Pod,
    {
        let id = self.0.get(name).with_context(|| format!("no map {name}"))?;
        let map = Map::HashMap(MapData::from_id(*id)?);
        let map: HashMap<MapData, [u8; K], [u8; V]> = HashMap::try_from(map)?;
        // What goes while it is read is none.
        Ok(map.iter().filter_map(Result::ok).collect())
    }

    /// Live allocations that are remembered.
    pub fn live(&self) -> Result<usize> {
        Ok(self.entries::<24, 56>("LIVE")?.len())
    }

    /// Threads with a place for what they are allocating.
    pub fn pending(&self) -> Result<usize> {
        Ok(self.entries::<8, 80>("PENDING")?.len())
    }

    /// What belongs to nobody who runs.
    pub fn orphans(&self) -> Result<Vec<String>> {
        let mut orphans = Vec::new();
        // A process has its number before anything of it is there.
        let mut owned = Vec::new();
        owned.extend(procs("ROWS", &self.entries::<32, 80>("ROWS")?));
        owned.extend(procs("OWNERS", &self.entries::<24, 24>("OWNERS")?));
        owned.extend(procs("LIVE", &self.entries::<24, 56>("LIVE")?));
        let mut numbered = HashSet::new();
        for (pid, value) in self.entries::<4, 24>("PROCS")? {
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
        for (key, _) in self.entries::<8, 80>("PENDING")? {
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
