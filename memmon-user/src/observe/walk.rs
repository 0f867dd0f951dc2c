//! What a process held before memmon came.

use std::io;

use crate::{
    runtimes::resolver::{FoundOwner, Model, OwnerHint, Recovered, Target},
    target::{identity, maps, memory::ProcessMemory},
};

/// How often a walk is repeated. The process is not stopped, so a walk may see it in the middle of
/// an allocation.
const ATTEMPTS: usize = 5;

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

/// As [`recover`], less what a forked child merely inherited: allocators that its parent has, of
/// the same library at the same address.
pub fn recover_own(model: &dyn Model, pid: u32, base: u64) -> Result<Recovered, String> {
    let found = recover(model, pid, base)?;
    let Some(parent) = parent(pid).filter(|_| !found.owners.is_empty()) else {
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
    let regions = maps::of_process(pid).map_err(unreadable)?;
    let memory = ProcessMemory::open(pid).map_err(unreadable)?;
    model.recover(&Target {
        memory: &memory,
        base,
        regions: &regions,
    })
}

/// Where the owner of an event has its memory.
pub fn owners(
    model: &dyn Model,
    pid: u32,
    base: u64,
    hint: &OwnerHint,
) -> Result<Vec<FoundOwner>, String> {
    let regions = maps::of_process(pid).map_err(unreadable)?;
    let memory = ProcessMemory::open(pid).map_err(unreadable)?;
    let target = Target {
        memory: &memory,
        base,
        regions: &regions,
    };
    model.owners(&target, hint)
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
        consistent: found.consistent,
    }
}

/// The parent of a process.
fn parent(pid: u32) -> Option<u32> {
    identity::parse_parent(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}
