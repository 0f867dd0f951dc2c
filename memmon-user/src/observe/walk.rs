//! What a process held before memmon came.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

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

/// A library in a process, whose allocators are to be read.
pub struct Walk<'a> {
    pub model: &'a dyn Model,
    pub pid: u32,
    pub base: u64,
}

/// As [`recover_own`], of many processes side by side; the results are in their order.
pub fn recover_all(walks: &[Walk<'_>]) -> Vec<Result<Recovered, String>> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, MOST_THREADS)
        .min(walks.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(walk) = walks.get(index) else {
                return done;
            };
            done.push((index, recover_own(walk.model, walk.pid, walk.base)));
        }
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().unwrap_or_default());
        }
        all
    });
    all.sort_unstable_by_key(|(index, _)| *index);
    let mut all = all.into_iter().peekable();
    (0..walks.len())
        .map(|index| {
            all.next_if(|(done, _)| *done == index).map_or_else(
                || Err("its walk ended early".to_owned()),
                |(_, found)| found,
            )
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
