//! One snapshot without a probe: what the processes hold is read from their memory.

use std::collections::HashMap;

use memmon_ebpf::ledger::RowKey;

use super::{
    Options, Runtimes, clock,
    identities::process_facts,
    libraries::{Libraries, Use},
    observer::host_name,
    walk::{self, Walk},
};
use crate::{
    discover::scan,
    runtimes::resolver::Recovered,
    tables::{
        Tables,
        facts::{Baseline, OwnerId, Proc, Since},
        snapshot::{self, Snapshot},
    },
    target::identity::Identity,
};

/// Walks every process in scope.
pub fn query(options: &Options, runtimes: &Runtimes) -> Snapshot {
    let observer = snapshot::Observer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: clock::now(),
        scope: options.scope(),
    };
    let mut tables = Tables::new(host_name(), observer, runtimes.facts());
    tables.nothing_seen();
    let mut libraries = Libraries::default();
    let found = scan::processes(|name| runtimes.wants(name));
    let mut subjects = Vec::new();
    for (index, (pid, mapped)) in found.iter().enumerate() {
        if !options.filter.takes_pid(*pid) {
            continue;
        }
        let proc = index as Proc + 1;
        let Ok(identity) = Identity::read(*pid) else {
            continue;
        };
        tables.process(proc, process_facts(&identity));
        let mut subject = Subject {
            proc,
            pid: *pid,
            complete: true,
            understood: false,
            uses: Vec::new(),
        };
        for library in mapped {
            for using in libraries
                .meet(runtimes, None, *pid, library)
                .into_iter()
                .flatten()
            {
                subject.understood = true;
                subject.uses.push((using, library.base));
            }
        }
        subjects.push(subject);
    }
    let found = walk_all(&subjects);
    for (subject, found) in subjects.into_iter().zip(found) {
        let Subject {
            proc,
            understood,
            mut complete,
            uses,
            ..
        } = subject;
        for ((using, _), found) in uses.iter().zip(found) {
            match found {
                Some(Ok(found)) if found.consistent => {
                    take_in(&mut tables, proc, using.space, &found);
                }
                _ => complete = false,
            }
        }
        tables.understood(proc, understood && complete);
        if complete {
            tables.since(proc, Since::Recovered);
        }
    }
    tables.libraries(libraries.rows(runtimes));
    tables.raise_peaks();
    options.filter.apply(tables.snapshot(clock::now()))
}

/// A process, and the libraries of it that are understood.
struct Subject {
    proc: Proc,
    pid: u32,
    complete: bool,
    understood: bool,
    uses: Vec<(Use, u64)>,
}

/// What each use of each subject holds; none where it cannot be read at all.
fn walk_all(subjects: &[Subject]) -> Vec<Vec<Option<Result<Recovered, String>>>> {
    let uses = || {
        subjects
            .iter()
            .flat_map(|subject| subject.uses.iter().map(|using| (subject.pid, using)))
    };
    let walks: Vec<Walk<'_>> = uses()
        .filter_map(|(pid, (using, base))| {
            Some(Walk {
                model: using.model.as_deref()?,
                pid,
                base: *base,
            })
        })
        .collect();
    let mut found = walk::recover_all(&walks).into_iter();
    subjects
        .iter()
        .map(|subject| {
            let uses = subject.uses.iter();
            uses.map(|(using, _)| using.model.as_ref().and_then(|_| found.next()))
                .collect()
        })
        .collect()
}

fn take_in(tables: &mut Tables, proc: Proc, space: u32, found: &Recovered) {
    let mut sums: HashMap<RowKey, Baseline> = HashMap::new();
    let key = |owner: u64, pool: u32| RowKey {
        proc,
        owner,
        space,
        pool,
        ogen: 0,
        reserved: 0,
    };
    for owner in &found.owners {
        let id = OwnerId {
            proc,
            space,
            owner: owner.owner,
        };
        tables.placement(id, 0, owner.placement.clone());
        sums.entry(key(owner.owner, owner.pool)).or_default();
    }
    for allocation in &found.allocations {
        sums.entry(key(allocation.owner, allocation.pool))
            .or_default()
            .add(allocation.requested, allocation.charged);
    }
    for (key, sum) in sums {
        tables.baseline(key, sum);
    }
}
