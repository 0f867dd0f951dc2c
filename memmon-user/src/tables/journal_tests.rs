//! What was told, told again: from the start, from a checkpoint, and event by event.

use std::collections::{BTreeMap, BTreeSet};

use memmon_ebpf::ledger::{RowKey, RowValue};
use proptest::prelude::*;

use super::{
    Batch, Fact, Replica,
    event::{Event, EventKind},
    facts::{
        Baseline, DeviceFacts, OwnerId, Placement, PoolCapacity, ProcessFacts, Rebase,
        RuntimeFacts, Since,
    },
    live::LiveEntry,
    snapshot::{Observer, Snapshot},
};

/// What happens, before anybody is told.
#[derive(Clone, Debug)]
enum Step {
    Alloc {
        proc: u64,
        owner: u64,
        bytes: u64,
    },
    /// One of those that are live.
    Free {
        which: usize,
    },
    FreeAll {
        proc: u64,
        owner: u64,
    },
    Failed {
        proc: u64,
        owner: u64,
    },
    /// The kernel's rows are read.
    Read,
    Exit {
        proc: u64,
    },
    /// An allocation of which no event tells.
    MissedAlloc {
        proc: u64,
        owner: u64,
        bytes: u64,
    },
    /// A free of which no event tells.
    MissedFree {
        which: usize,
    },
    /// The rows are compared with the truth, and corrected.
    Audit,
}

fn step() -> impl Strategy<Value = Step> {
    let proc = 1..4_u64;
    let owner = 1..3_u64;
    prop_oneof![
        6 => (proc.clone(), owner.clone(), 1..1000_u64)
            .prop_map(|(proc, owner, bytes)| Step::Alloc { proc, owner, bytes }),
        4 => any::<usize>().prop_map(|which| Step::Free { which }),
        1 => (proc.clone(), owner.clone()).prop_map(|(proc, owner)| Step::FreeAll { proc, owner }),
        1 => (proc.clone(), owner).prop_map(|(proc, owner)| Step::Failed { proc, owner }),
        3 => Just(Step::Read),
        1 => proc.clone().prop_map(|proc| Step::Exit { proc }),
        1 => (proc, 1..3_u64, 1..1000_u64)
            .prop_map(|(proc, owner, bytes)| Step::MissedAlloc { proc, owner, bytes }),
        1 => any::<usize>().prop_map(|which| Step::MissedFree { which }),
        2 => Just(Step::Audit),
    ]
}

/// The kernel, and what it tells.
#[derive(Default)]
struct World {
    rows: BTreeMap<RowKey, RowValue>,
    generations: BTreeMap<(u64, u64), u32>,
    live: Vec<LiveEntry>,
    /// What the kernel remembers of it.
    known: Vec<LiveEntry>,
    baselines: BTreeMap<RowKey, Baseline>,
    gone: Vec<u64>,
    next_key: u64,
    time_ns: u64,
    told: Vec<Fact>,
}

impl World {
    fn row_key(&self, proc: u64, owner: u64) -> RowKey {
        RowKey {
            proc,
            owner,
            ogen: self.generations.get(&(proc, owner)).copied().unwrap_or(0),
            ..RowKey::default()
        }
    }

    fn event(&mut self, kind: EventKind, key: u64, row: RowKey, bytes: u64) {
        self.time_ns += 1;
        let sequence = self.rows.get(&row).map_or(0, |row| row.sequence);
        self.told.push(Fact::Event(Event {
            kind,
            time_ns: self.time_ns,
            proc: row.proc,
            pid: row.proc as u32,
            tid: 1,
            key,
            row,
            sequence: sequence as u32,
            requested: bytes,
            charged: bytes * 2,
            address: key * 4096,
        }));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Alloc { proc, owner, bytes } if !self.gone.contains(&proc) => {
                let row_key = self.row_key(proc, owner);
                let row = self.rows.entry(row_key).or_default();
                row.requested += bytes as i64;
                row.charged += bytes as i64 * 2;
                row.peak_charged = row.peak_charged.max(row.charged);
                row.live += 1;
                row.allocations += 1;
                row.sequence += 1;
                self.next_key += 1;
                let key = self.next_key;
                self.event(EventKind::Alloc, key, row_key, bytes);
                let entry = self.entry(row_key, key, bytes);
                self.live.push(entry);
                self.known.push(entry);
            }
            Step::MissedAlloc { proc, owner, bytes } if !self.gone.contains(&proc) => {
                self.next_key += 1;
                let entry = self.entry(self.row_key(proc, owner), self.next_key, bytes);
                self.live.push(entry);
            }
            Step::MissedFree { which } if !self.live.is_empty() => {
                self.live.swap_remove(which % self.live.len());
            }
            Step::Audit => self.audit(),
            Step::Free { which } if !self.live.is_empty() => {
                let entry = self.live.swap_remove(which % self.live.len());
                let Some(at) = self.known.iter().position(|known| known.key == entry.key) else {
                    // A free of something unknown.
                    return;
                };
                self.known.swap_remove(at);
                let row = self.rows.entry(entry.row_key()).or_default();
                row.requested -= entry.requested as i64;
                row.charged -= entry.charged as i64;
                row.live -= 1;
                row.frees += 1;
                row.sequence += 1;
                self.event(EventKind::Free, entry.key, entry.row_key(), entry.requested);
            }
            Step::FreeAll { proc, owner } if !self.gone.contains(&proc) => {
                let ended = self.row_key(proc, owner).ogen;
                self.generations.insert((proc, owner), ended + 1);
                for list in [&mut self.live, &mut self.known] {
                    list.retain(|entry| (entry.proc, entry.owner) != (proc, owner));
                }
                self.told.push(Fact::FreedAll {
                    owner: owner_id(proc, owner),
                    ended,
                });
            }
            Step::Failed { proc, owner } if !self.gone.contains(&proc) => {
                let row_key = self.row_key(proc, owner);
                let row = self.rows.entry(row_key).or_default();
                row.failed += 1;
                row.failed_bytes += 7;
                row.sequence += 1;
                self.event(EventKind::Failed, 0, row_key, 7);
            }
            Step::Exit { proc } if !self.gone.contains(&proc) => {
                self.read();
                self.gone.push(proc);
                for list in [&mut self.live, &mut self.known] {
                    list.retain(|entry| entry.proc != proc);
                }
                self.told.push(Fact::Exited {
                    proc,
                    at_ns: self.time_ns,
                });
            }
            Step::Read => self.read(),
            _ => {}
        }
    }

    fn entry(&self, row: RowKey, key: u64, bytes: u64) -> LiveEntry {
        LiveEntry {
            proc: row.proc,
            owner: row.owner,
            key,
            ogen: row.ogen,
            requested: bytes,
            charged: bytes * 2,
            address: key * 4096,
            since_ns: self.time_ns,
            tid: 1,
            ..LiveEntry::default()
        }
    }

    /// Whether nothing was missed that no audit has found yet.
    fn is_true(&self) -> bool {
        let sorted = |list: &[LiveEntry]| {
            let mut keys: Vec<u64> = list.iter().map(|entry| entry.key).collect();
            keys.sort_unstable();
            keys
        };
        sorted(&self.live) == sorted(&self.known)
    }

    fn audit(&mut self) {
        self.read();
        let is_in = |list: &[LiveEntry], entry: &LiveEntry| list.iter().any(|e| e.key == entry.key);
        let ghosts = self.known.iter().filter(|entry| !is_in(&self.live, entry));
        let missing = self.live.iter().filter(|entry| !is_in(&self.known, entry));
        self.told
            .push(Fact::Gone(ghosts.map(LiveEntry::id).collect()));
        self.told.push(Fact::Live(missing.copied().collect()));
        self.known.clone_from(&self.live);
        let mut own = BTreeMap::<RowKey, Baseline>::new();
        for entry in &self.live {
            own.entry(entry.row_key())
                .or_default()
                .add(entry.requested, entry.charged);
        }
        let known = self.rows.keys().chain(self.baselines.keys());
        let keys: BTreeSet<RowKey> = known.chain(own.keys()).copied().collect();
        for key in keys {
            let own = own.get(&key).copied().unwrap_or_default();
            let kernel = self.rows.get(&key).copied().unwrap_or_default();
            let before = self.baselines.get(&key).copied().unwrap_or_default();
            let mut baseline = Baseline {
                requested: own.requested - kernel.requested,
                charged: own.charged - kernel.charged,
                live: own.live - kernel.live,
                ..before
            };
            if baseline != before {
                let times = before.rebase.map_or(0, |rebase| rebase.times);
                baseline.rebase = Some(Rebase {
                    times: times + 1,
                    peak: own.charged,
                    kernel_peak: kernel.peak_charged,
                });
                self.baselines.insert(key, baseline);
                self.told.push(Fact::Baseline { key, baseline });
            }
        }
    }

    fn read(&mut self) {
        self.told
            .extend(self.rows.iter().map(|(key, value)| Fact::Row {
                key: *key,
                value: *value,
            }));
    }
}

fn owner_id(proc: u64, owner: u64) -> OwnerId {
    OwnerId {
        proc,
        space: 0,
        owner,
    }
}

fn beginning() -> Vec<Fact> {
    let mut facts = vec![Fact::Start {
        host: "host".to_owned(),
        observer: Observer::default(),
        runtimes: vec![RuntimeFacts::default()],
    }];
    for proc in 1..4 {
        let process = ProcessFacts {
            pid: proc as u32,
            ..ProcessFacts::default()
        };
        facts.push(Fact::Process {
            proc,
            facts: Box::new(process),
        });
        facts.push(Fact::Understood {
            proc,
            understood: true,
        });
        facts.push(Fact::Since {
            proc,
            since: Since::Start,
        });
        if proc == 3 {
            facts.push(Fact::Unseen { proc, space: 1 });
        }
        for owner in 1..3 {
            let device = DeviceFacts {
                id: Some(owner as i64),
                ..DeviceFacts::default()
            };
            let capacity = PoolCapacity {
                banks: 2,
                bytes: 1 << 20,
                ..PoolCapacity::default()
            };
            facts.push(Fact::Placement {
                owner: owner_id(proc, owner),
                ogen: 0,
                placement: Placement {
                    devices: vec![device],
                    pools: BTreeMap::from([(0, capacity)]),
                },
            });
        }
    }
    facts
}

fn batch(facts: &[Fact]) -> Batch {
    Batch {
        facts: facts.to_vec(),
        ..Batch::default()
    }
}

fn live(replica: &Replica) -> Vec<LiveEntry> {
    let mut entries: Vec<_> = replica.live.iter().copied().collect();
    entries.sort_by_key(LiveEntry::id);
    entries
}

/// What a process holds by its rows.
fn held(snapshot: &Snapshot) -> Vec<(u32, u64, u64, u64)> {
    let mut held = Vec::new();
    for process in snapshot.processes.iter().filter(|p| p.state == "running") {
        for row in process.usage.iter().flatten() {
            held.push((
                process.pid,
                row.device.unwrap() as u64,
                row.charged_bytes.unwrap(),
                row.live_allocations.unwrap(),
            ));
        }
    }
    held.retain(|(_, _, _, live)| *live > 0);
    held
}

proptest! {
    /// Event by event the totals are those of the allocations that are live, whenever rows are read;
    /// and where events were missed, from the next audit on.
    #[test]
    fn every_moment_is_true(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::default();
        let mut replica = Replica::of(&batch(&beginning()));
        for step in &steps {
            world.step(step);
            for fact in world.told.drain(..) {
                replica.apply_fact(&fact);
            }
            let mut truth = BTreeMap::<(u32, u64), (u64, u64)>::new();
            for entry in &world.live {
                let sum = truth.entry((entry.proc as u32, entry.owner)).or_default();
                sum.0 += entry.charged;
                sum.1 += 1;
            }
            let truth: Vec<_> = truth
                .into_iter()
                .map(|((pid, device), (charged, live))| (pid, device, charged, live))
                .collect();
            if world.is_true() {
                prop_assert_eq!(held(&replica.snapshot(String::new())), truth);
            }
            world.known.sort_by_key(LiveEntry::id);
            prop_assert_eq!(live(&replica), world.known.clone());
        }
    }

    /// Who follows from the middle on, and is told some of it twice, ends with the same.
    #[test]
    fn a_checkpoint_and_the_rest(
        steps in prop::collection::vec(step(), 0..120),
        at in any::<prop::sample::Index>(),
        again in 0..20_usize,
    ) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
        }
        world.read();
        let facts = world.told;
        let at = at.index(facts.len() + 1);
        let mut whole = Replica::of(&batch(&beginning()));
        whole.apply(&batch(&facts[..at]));
        let mut checkpoint = whole.tables.checkpoint();
        checkpoint.push(Fact::Live(live(&whole)));
        // The list of what is live is newer than the facts that come first.
        let text = serde_json::to_vec(&batch(&checkpoint)).unwrap();
        let mut late = Replica::of(&serde_json::from_slice(&text).unwrap());
        prop_assert_eq!(late.snapshot(String::new()), whole.snapshot(String::new()));
        whole.apply(&batch(&facts[at..]));
        late.apply(&batch(&facts[at.saturating_sub(again)..]));
        prop_assert_eq!(held(&late.snapshot(String::new())), held(&whole.snapshot(String::new())));
        prop_assert_eq!(live(&late), live(&whole));
    }
}
