//! What a process held before memmon came.

use std::{
    collections::HashMap,
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::libraries::Use;
use crate::{
    runtimes::resolver::{FoundOwner, Model, OwnerHint, Recovered, Root, Target},
    target::{
        identity,
        maps::{self, Region},
        memory::ProcessMemory,
    },
};

/// A process's memory, opened once for many looks.
pub struct View {
    memory: ProcessMemory,
    regions: Vec<Region>,
    base: u64,
}

impl View {
    pub fn open(pid: u32, base: u64) -> Result<Self, String> {
        Ok(Self {
            memory: ProcessMemory::open(pid).map_err(unreadable)?,
            regions: maps::of_process(pid).map_err(unreadable)?,
            base,
        })
    }

    pub fn read(&self, model: &dyn Model, root: Root) -> Result<Recovered, String> {
        model.read(&self.target(), root)
    }

    pub fn holds(&self, model: &dyn Model, root: Root, keys: &[u64]) -> Result<Vec<u64>, String> {
        model.holds(&self.target(), root, keys)
    }

    fn target(&self) -> Target<'_> {
        Target {
            memory: &self.memory,
            base: self.base,
            regions: &self.regions,
        }
    }
}

/// How often a walk is repeated. The process is not stopped, so a walk may see it in the middle of
/// an allocation.
const ATTEMPTS: usize = 5;
/// Processes that are walked at one time.
const MOST_THREADS: usize = 4;

/// Walks the process until what is found agrees with itself; where it never does, the last walk.
fn recover(model: &dyn Model, pid: u32, base: u64) -> Result<Recovered, String> {
    let mut last = Err("nothing was tried".to_owned());
    for _ in 0..ATTEMPTS {
        last = walk(model, pid, base);
        if last.as_ref().is_ok_and(|found| found.consistent) {
            break;
        }
    }
    last
}

/// What a use of a library holds, or why it cannot be told; none where its runtime cannot be read at all.
pub type Walked = Option<Result<Recovered, String>>;

/// As [`recover_own`], of many processes side by side. For each of them, in their order, what each of its uses of a
/// library holds.
pub fn recover_all<'a>(
    processes: impl Iterator<Item = (u32, &'a [(Use, u64)])> + Clone,
) -> Vec<Vec<Walked>> {
    let walks: Vec<Option<Walk<'a>>> = processes
        .clone()
        .flat_map(|(pid, uses)| uses.iter().map(move |using| Walk::of(pid, using)))
        .collect();
    let mut found = side_by_side(&walks).into_iter();
    processes
        .map(|(_, uses)| found.by_ref().take(uses.len()).collect())
        .collect()
}

/// A library in a process, whose allocators are to be read.
struct Walk<'a> {
    model: &'a dyn Model,
    pid: u32,
    base: u64,
}

impl<'a> Walk<'a> {
    /// None where they cannot be.
    fn of(pid: u32, (using, base): &'a (Use, u64)) -> Option<Self> {
        Some(Self {
            model: using.model.as_deref()?,
            pid,
            base: *base,
        })
    }
}

/// The result of each, in their order.
fn side_by_side(walks: &[Option<Walk<'_>>]) -> Vec<Walked> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, MOST_THREADS)
        .min(walks.iter().flatten().count());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match walks.get(index) {
                Some(Some(walk)) => {
                    done.push((index, recover_own(walk.model, walk.pid, walk.base)));
                }
                Some(None) => {}
                None => return done,
            }
        }
    };
    let mut done: HashMap<usize, Result<Recovered, String>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done: HashMap<_, _> = work().into_iter().collect();
        for other in others {
            done.extend(other.join().unwrap_or_default());
        }
        done
    });
    walks
        .iter()
        .enumerate()
        .map(|(index, walk)| {
            walk.as_ref()?;
            let ended_early = || Err("its walk ended early".to_owned());
            Some(done.remove(&index).unwrap_or_else(ended_early))
        })
        .collect()
}

/// As [`recover`], less what a forked child merely inherited: allocators that its parent has, of
/// the same library at the same address.
pub fn recover_own(model: &dyn Model, pid: u32, base: u64) -> Result<Recovered, String> {
    let found = recover(model, pid, base)?;
    let Some(parent) = identity::parent(pid).filter(|_| !found.owners.is_empty()) else {
        return Ok(found);
    };
    let maps_it_there = |pid: u32| {
        maps::of_process(pid).is_ok_and(|regions| {
            regions
                .iter()
                .any(|region| region.start == base && region.inode != 0)
        })
    };
    if !maps_it_there(parent) {
        return Ok(found);
    }
    match walk(model, parent, base) {
        Ok(parent) => Ok(own_part(found, &parent)),
        Err(_) => Ok(found),
    }
}

fn walk(model: &dyn Model, pid: u32, base: u64) -> Result<Recovered, String> {
    model.recover(&View::open(pid, base)?.target())
}

/// Where the owner of an event has its memory.
pub fn owners(
    model: &dyn Model,
    pid: u32,
    base: u64,
    hint: &OwnerHint,
) -> Result<Vec<FoundOwner>, String> {
    model.owners(&View::open(pid, base)?.target(), hint)
}

fn unreadable(error: io::Error) -> String {
    format!("its memory cannot be read: {error}")
}

fn own_part(found: Recovered, parent: &Recovered) -> Recovered {
    let inherited = |owner: u64| parent.owners.iter().any(|known| known.owner == owner);
    Recovered {
        owners: found
            .owners
            .into_iter()
            .filter(|owner| !inherited(owner.owner))
            .collect(),
        allocations: found
            .allocations
            .into_iter()
            .filter(|allocation| !inherited(allocation.owner))
            .collect(),
        blocks: Vec::new(),
        consistent: found.consistent,
        whole: found.whole,
    }
}
