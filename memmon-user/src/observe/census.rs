//! What processes hold, without a probe: read from their memory, once or again and again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use memmon_ebpf::ledger::RowKey;

use super::{
    Options, Runtimes,
    identities::process_facts,
    keys::row_key,
    libraries::{Libraries, Use},
    observer::host_name,
    walk::{self, Walked},
};
use crate::{
    clock,
    discover::scan::{self, Mapped},
    runtimes::resolver::Recovered,
    tables::{
        Tables,
        facts::{Baseline, OwnerId, Proc, Since},
        live::LiveEntry,
        snapshot::{self, Health, Snapshot},
    },
    target::identity::{self, Identity},
};

/// One snapshot of now.
pub fn query(options: &Options, runtimes: &Runtimes) -> Snapshot {
    let mut census = Census::new(options.clone(), runtimes);
    census.tables.nothing_seen();
    census.take()
}

/// A process is another one where its pid was used again.
type Identified = (u32, Option<u64>);

/// Walks every process in scope, and remembers what was there before.
pub struct Census<'a> {
    options: Options,
    runtimes: &'a Runtimes,
    pub tables: Tables,
    /// What was live at the latest census.
    pub live: Vec<LiveEntry>,
    libraries: Libraries,
    /// What there is to say of every census.
    pub notes: Vec<String>,
    /// How many processes use a runtime that cannot be read, beside one that can.
    unread: BTreeMap<u32, u64>,
    known: HashMap<Identified, Proc>,
    last: Proc,
}

/// A process, and the libraries of it that are understood.
struct Subject {
    proc: Proc,
    pid: u32,
    uses: Vec<(Use, u64)>,
}

impl<'a> Census<'a> {
    pub fn new(options: Options, runtimes: &'a Runtimes) -> Self {
        let observer = snapshot::Observer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: clock::now(),
            scope: options.scope(),
        };
        Self {
            options,
            runtimes,
            tables: Tables::new(host_name(), observer, runtimes.facts()),
            live: Vec::new(),
            libraries: Libraries::default(),
            notes: Vec::new(),
            unread: BTreeMap::new(),
            known: HashMap::new(),
            last: 0,
        }
    }

    /// All that they hold at this moment.
    pub fn take(&mut self) -> Snapshot {
        let found = scan::processes(|name| self.runtimes.wants(name));
        let mut subjects = Vec::new();
        for (pid, mapped) in &found {
            if self.options.filter.takes_pid(*pid) {
                subjects.extend(self.subject(*pid, mapped));
            }
        }
        self.bury(&subjects);
        self.live.clear();
        self.unread.clear();
        let uses = subjects
            .iter()
            .map(|subject| (subject.pid, subject.uses.as_slice()));
        let found = walk::recover_all(uses);
        for (subject, found) in subjects.into_iter().zip(found) {
            self.take_in(&subject, found);
        }
        self.tables.libraries(self.libraries.rows(self.runtimes));
        self.tables.health(Health {
            notes: self.all_notes(),
            ..Health::default()
        });
        self.tables.raise_peaks();
        let snapshot = self.tables.snapshot(clock::now());
        self.options.filter.apply(snapshot)
    }

    fn all_notes(&self) -> Vec<String> {
        let unread = self.unread.iter().map(|(space, count)| {
            let who = match count {
                1 => "1 process uses".to_owned(),
                count => format!("{count} processes use"),
            };
            let runtime = self.runtimes.name(*space);
            format!("{who} {runtime}, too: what it holds is seen only as it is allocated (`memmon-ebpf serve`)")
        });
        self.notes.iter().cloned().chain(unread).collect()
    }

    /// None where it has ended.
    fn subject(&mut self, pid: u32, mapped: &[Mapped]) -> Option<Subject> {
        let identity = Identity::read(pid).ok()?;
        let proc = *self
            .known
            .entry((pid, identity::start_ticks(pid)))
            .or_insert_with(|| {
                self.last += 1;
                self.last
            });
        self.tables.process(proc, process_facts(&identity));
        let mut uses = Vec::new();
        for library in mapped {
            let met = self.libraries.meet(self.runtimes, None, pid, library);
            uses.extend(met.into_iter().flatten().map(|using| (using, library.base)));
        }
        Some(Subject { proc, pid, uses })
    }

    /// Those that are gone keep what they last held for a while.
    fn bury(&mut self, subjects: &[Subject]) {
        let there: HashSet<Proc> = subjects.iter().map(|subject| subject.proc).collect();
        let now = clock::boot_ns();
        let tables = &mut self.tables;
        let libraries = &mut self.libraries;
        self.known.retain(|(pid, _), proc| {
            if there.contains(proc) {
                return true;
            }
            if let Some(ending) = tables.describe_ending(*proc, clock::now()) {
                tables.ending(ending);
            }
            tables.exited(*proc, now);
            libraries.process_gone(*pid);
            false
        });
        for proc in self.tables.expired(now).procs {
            self.tables.forget_process(proc);
        }
    }

    fn take_in(&mut self, subject: &Subject, found: Vec<Walked>) {
        let proc = subject.proc;
        let found: Vec<(u32, Option<Recovered>)> = subject
            .uses
            .iter()
            .zip(found)
            .map(|((using, _), found)| {
                let found = found.and_then(Result::ok);
                (using.space, found.filter(|found| found.consistent))
            })
            .collect();
        let unread: BTreeSet<u32> = found
            .iter()
            .filter_map(|(space, found)| found.is_none().then_some(*space))
            .collect();
        for (space, found) in &found {
            let read = !unread.contains(space);
            if let Some(found) = found.as_ref().filter(|_| read) {
                self.take_found(proc, *space, found);
            }
            self.tables.recovered(proc, *space, read);
        }
        let some = found.iter().any(|(space, _)| !unread.contains(space));
        self.tables.understood(proc, some);
        if some {
            for space in &unread {
                *self.unread.entry(*space).or_default() += 1;
            }
        }
        let since = if some && unread.is_empty() {
            Since::Recovered
        } else {
            // What it held before may not be what it holds now.
            Since::Attach
        };
        self.tables.since(proc, since);
    }

    fn take_found(&mut self, proc: Proc, space: u32, found: &Recovered) {
        let mut sums: HashMap<RowKey, Baseline> = HashMap::new();
        let key = |owner: u64, pool: u32| row_key(proc, space, owner, pool, 0);
        for owner in &found.owners {
            let id = OwnerId {
                proc,
                space,
                owner: owner.owner,
            };
            self.tables.placement(id, 0, owner.placement.clone());
            sums.entry(key(owner.owner, owner.pool)).or_default();
        }
        for allocation in &found.allocations {
            sums.entry(key(allocation.owner, allocation.pool))
                .or_default()
                .add(allocation.requested, allocation.charged);
            self.live.push(LiveEntry {
                proc,
                space,
                key: allocation.key,
                owner: allocation.owner,
                pool: allocation.pool,
                requested: allocation.requested,
                charged: allocation.charged,
                address: allocation.address,
                ..LiveEntry::default()
            });
        }
        // An allocator that is gone holds nothing.
        let before: BTreeSet<RowKey> = self
            .tables
            .rows_of(proc)
            .filter(|key| key.space == space)
            .collect();
        for key in before {
            sums.entry(key).or_default();
        }
        for (key, sum) in sums {
            self.tables.baseline(key, sum);
        }
    }
}
