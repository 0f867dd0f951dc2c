//! One snapshot without a probe: what the processes hold is read from their memory.

use std::collections::HashMap;

use memmon_ebpf::ledger::RowKey;

use super::{
    Options, Runtimes, clock, identities::process_facts, libraries::Libraries, observer::host_name,
    walk,
};
use crate::{
    discover::scan,
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
    for (index, (pid, mapped)) in found.iter().enumerate() {
        if !options.filter.takes_pid(*pid) {
            continue;
        }
        let proc = index as Proc + 1;
        let Ok(identity) = Identity::read(*pid) else {
            continue;
        };
        tables.process(proc, process_facts(&identity));
        let mut complete = true;
        let mut understood = false;
        for library in mapped {
            for using in libraries
                .meet(runtimes, None, *pid, library)
                .into_iter()
                .flatten()
            {
                understood = true;
                let Some(model) = &using.model else {
                    complete = false;
                    continue;
                };
                match walk::recover_own(model.as_ref(), *pid, library.base) {
                    Ok(found) if found.consistent => {
                        take_in(&mut tables, proc, using.space, &found);
                    }
                    _ => complete = false,
                }
            }
        }
        tables.understood(proc, understood && complete);
        if understood && complete {
            tables.since(proc, Since::Recovered);
        }
    }
    tables.libraries(libraries.rows(runtimes));
    tables.raise_peaks();
    options.filter.apply(tables.snapshot(clock::now()))
}

fn take_in(
    tables: &mut Tables,
    proc: Proc,
    space: u32,
    found: &crate::runtimes::resolver::Recovered,
) {
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
