//! The tables against a program that allocates: whatever is lost, late, told twice or out of order,
//! what they show is what the program holds, or is marked.
//!
//! The program is a map of allocations and knows nothing of rows, sequences or generations; its
//! sums are the judge. Between it and the tables stands a kernel that loses what it is told to.

use std::collections::{BTreeMap, BTreeSet};

use memmon_ebpf::ledger::{RowKey, RowValue};
use proptest::prelude::*;

use super::{
    Batch, EXITED_SHOWN_NS, Fact, Replica,
    event::{Event, EventKind},
    facts::{
        Baseline, DeviceFacts, OwnerId, Placement, PoolCapacity, PoolFacts, Proc, ProcessFacts,
        RuntimeFacts, Since,
    },
    live::LiveEntry,
    snapshot::{Observer, Snapshot},
};

const CHIPS: i64 = 3;
const POOLS: u32 = 2;

/// One allocation of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    pid: u32,
    allocator: u64,
    pool: u32,
    bytes: i64,
}

/// The program: processes, and what each has allocated and not freed.
#[derive(Default)]
struct Program {
    pids: BTreeSet<u32>,
    held: BTreeMap<u64, Held>,
    /// The chips that an allocator stands on, which never change while it lives.
    next: u64,
}

/// The chips of an allocator: one, or a mesh of several.
fn chips(allocator: u64) -> Vec<i64> {
    let first = (allocator % 3) as i64;
    match allocator % 2 {
        0 => vec![first],
        _ => (first..CHIPS).collect(),
    }
}

impl Program {
    /// Bytes and allocations by (pid, chip, pool); nothing of what holds nothing.
    fn sums(&self) -> BTreeMap<(u32, i64, u32), (u64, u64)> {
        let mut sums = BTreeMap::<_, (u64, u64)>::new();
        for held in self.held.values() {
            for chip in chips(held.allocator) {
                let sum = sums.entry((held.pid, chip, held.pool)).or_default();
                sum.0 += held.bytes.unsigned_abs();
                sum.1 += 1;
            }
        }
        sums
    }
}

#[derive(Clone, Debug)]
enum Step {
    Alloc {
        pid: u32,
        allocator: u64,
        pool: u32,
        bytes: i64,
    },
    Free(prop::sample::Index),
    FreeAll {
        pid: u32,
        allocator: u64,
    },
    Start {
        pid: u32,
    },
    Fork {
        pid: u32,
    },
    /// The child frees what its parent had when it was forked.
    FreeInherited {
        pid: u32,
    },
    Exec {
        pid: u32,
    },
    Exit {
        pid: u32,
    },
    /// memmon comes.
    Attach,
    /// It reads what a process holds.
    Recover {
        pid: u32,
    },
    /// It reads all totals now.
    Read,
    /// It begins to read the totals now, and takes them in with the next step of this kind.
    Overtaken,
    /// The events of the ring arrive.
    Drain,
    /// So many of the events that are in the ring are lost.
    Lose(u8),
    /// Somebody follows from here on.
    Follow,
    Later,
}

fn step() -> impl Strategy<Value = Step> {
    let pid = 1..4_u32;
    let who = (1..4_u32, 1..5_u64);
    prop_oneof![
        12 => (1..4_u32, 1..5_u64, 0..POOLS, 1..1_000_i64).prop_map(|(pid, allocator, pool, bytes)| {
            Step::Alloc { pid, allocator, pool, bytes }
        }),
        8 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => who.prop_map(|(pid, allocator)| Step::FreeAll { pid, allocator }),
        2 => pid.clone().prop_map(|pid| Step::Start { pid }),
        1 => pid.clone().prop_map(|pid| Step::Fork { pid }),
        1 => pid.clone().prop_map(|pid| Step::FreeInherited { pid }),
        1 => pid.clone().prop_map(|pid| Step::Exec { pid }),
        1 => pid.clone().prop_map(|pid| Step::Exit { pid }),
        2 => Just(Step::Attach),
        3 => pid.prop_map(|pid| Step::Recover { pid }),
        3 => Just(Step::Read),
        2 => Just(Step::Overtaken),
        4 => Just(Step::Drain),
        2 => any::<u8>().prop_map(Step::Lose),
        1 => Just(Step::Follow),
        1 => Just(Step::Later),
    ]
}

/// The ledger, as far as the tables can tell: signed rows that change from the moment on that
/// probes are there.
#[derive(Default)]
struct Kernel {
    attached: bool,
    /// Which process a pid is.
    procs: BTreeMap<u32, Proc>,
    /// Of processes whose past is not known, or was recovered.
    recovered: BTreeSet<Proc>,
    since_start: BTreeSet<Proc>,
    generations: BTreeMap<OwnerId, u32>,
    rows: BTreeMap<RowKey, RowValue>,
    live: BTreeMap<u64, RowKey>,
    ring: Vec<Event>,
    reading: Option<Vec<Fact>>,
    next_proc: Proc,
    now_ns: u64,
    lost: bool,
}

struct Run {
    program: Program,
    kernel: Kernel,
    replica: Replica,
    /// Totals were read since the program last did something.
    current: bool,
    forgotten: Vec<Proc>,
}

impl Run {
    fn new() -> Self {
        let pools = (0..POOLS).map(|pool| {
            let facts = PoolFacts {
                name: format!("P{pool}"),
                charged: true,
            };
            (pool, facts)
        });
        let start = Fact::Start {
            host: String::new(),
            observer: Observer::default(),
            runtimes: vec![RuntimeFacts {
                name: "runtime".to_owned(),
                pools: pools.collect(),
            }],
        };
        let batch = Batch {
            facts: vec![start],
            ..Batch::default()
        };
        Self {
            program: Program::default(),
            kernel: Kernel::default(),
            replica: Replica::of(&batch),
            current: false,
            forgotten: Vec::new(),
        }
    }

    fn tell(&mut self, facts: Vec<Fact>) {
        self.replica.apply(&Batch {
            facts,
            ..Batch::default()
        });
    }

    fn owner(&self, proc: Proc, allocator: u64) -> OwnerId {
        OwnerId {
            proc,
            space: 0,
            owner: allocator,
        }
    }

    fn row_key(&self, proc: Proc, held: &Held) -> RowKey {
        let owner = self.owner(proc, held.allocator);
        RowKey {
            proc,
            owner: held.allocator,
            pool: held.pool,
            ogen: self.kernel.generations.get(&owner).copied().unwrap_or(0),
            ..RowKey::default()
        }
    }

    /// The process, where the kernel has seen it; it does so at its first event.
    fn seen(&mut self, pid: u32, since: Since) -> Option<Proc> {
        if !self.kernel.attached {
            return None;
        }
        if let Some(proc) = self.kernel.procs.get(&pid) {
            return Some(*proc);
        }
        self.kernel.next_proc += 1;
        let proc = self.kernel.next_proc;
        self.kernel.procs.insert(pid, proc);
        if since == Since::Start {
            self.kernel.since_start.insert(proc);
        }
        let facts = ProcessFacts {
            pid,
            ..ProcessFacts::default()
        };
        self.tell(vec![
            Fact::Process {
                proc,
                facts: Box::new(facts),
            },
            Fact::Understood {
                proc,
                understood: true,
            },
            Fact::Since { proc, since },
        ]);
        Some(proc)
    }

    fn place(&mut self, owner: OwnerId) {
        let devices = chips(owner.owner).into_iter().map(|chip| DeviceFacts {
            id: Some(chip),
            ..DeviceFacts::default()
        });
        let capacity = PoolCapacity {
            banks: 1,
            bytes: 1 << 30,
            ..PoolCapacity::default()
        };
        let ogen = self.kernel.generations.get(&owner).copied().unwrap_or(0);
        let placement = Placement {
            devices: devices.collect(),
            pools: (0..POOLS).map(|pool| (pool, capacity)).collect(),
        };
        self.tell(vec![Fact::Placement {
            owner,
            ogen,
            placement,
        }]);
    }

    fn change(&mut self, kind: EventKind, key: u64, row_key: RowKey, held: &Held) {
        self.kernel.now_ns += 1;
        let row = self.kernel.rows.entry(row_key).or_default();
        let sign = if kind == EventKind::Alloc { 1 } else { -1 };
        row.requested += sign * held.bytes;
        row.charged += sign * held.bytes;
        row.peak_charged = row.peak_charged.max(row.charged);
        row.live += sign;
        row.allocations += u64::from(kind == EventKind::Alloc);
        row.frees += u64::from(kind == EventKind::Free);
        row.sequence += 1;
        self.kernel.ring.push(Event {
            kind,
            time_ns: self.kernel.now_ns,
            proc: row_key.proc,
            pid: held.pid,
            tid: held.pid,
            key,
            row: row_key,
            sequence: row.sequence as u32,
            requested: held.bytes.unsigned_abs(),
            charged: held.bytes.unsigned_abs(),
            address: key << 12,
        });
    }

    /// The process is no more, or no more what it was.
    fn end(&mut self, pid: u32, forgotten: bool) {
        self.program.held.retain(|_, held| held.pid != pid);
        let Some(proc) = self.kernel.procs.remove(&pid) else {
            return;
        };
        // Totals are read one last time before it is told.
        self.drain();
        self.read();
        self.kernel.rows.retain(|key, _| key.proc != proc);
        self.kernel.live.retain(|_, key| key.proc != proc);
        self.kernel
            .generations
            .retain(|owner, _| owner.proc != proc);
        let at_ns = self.kernel.now_ns;
        if forgotten {
            self.forget(vec![proc]);
        } else {
            self.tell(vec![Fact::Exited { proc, at_ns }]);
        }
    }

    fn forget(&mut self, procs: Vec<Proc>) {
        let facts = procs.iter().map(|proc| Fact::Forget { proc: *proc });
        self.tell(facts.collect());
        self.forgotten.extend(procs);
    }

    fn rows(&self) -> Vec<Fact> {
        let rows = self.kernel.rows.iter().map(|(key, value)| Fact::Row {
            key: *key,
            value: *value,
        });
        let generations = self.kernel.generations.iter();
        let generations = generations.map(|(owner, ogen)| Fact::Generation {
            owner: *owner,
            ogen: *ogen,
        });
        rows.chain(generations).collect()
    }

    fn read(&mut self) {
        let rows = self.rows();
        self.tell(rows);
    }

    fn drain(&mut self) {
        let events = std::mem::take(&mut self.kernel.ring);
        let known = |event: &Event| self.replica.tables.knows_process(event.proc);
        let events: Vec<Event> = events.into_iter().filter(known).collect();
        self.tell(events.iter().copied().map(Fact::Event).collect());
        for event in events.iter().filter(|event| event.sequence != 0) {
            let read_then = RowValue {
                sequence: event.sequence.into(),
                ..RowValue::default()
            };
            let is_new = self.replica.tables.is_new(&event.row, &read_then);
            assert!(!is_new, "the totals before it would be taken for news");
        }
    }

    fn step(&mut self, step: &Step) {
        // What merely tells of what was before changes nothing of what is known already.
        let tells = matches!(
            step,
            Step::Overtaken | Step::Drain | Step::Lose(_) | Step::Follow | Step::Later
        );
        self.current &= tells;
        self.current |= matches!(step, Step::Read) && self.kernel.attached;
        match *step {
            Step::Start { pid } if self.program.pids.insert(pid) => {
                self.seen(pid, Since::Start);
            }
            Step::Alloc {
                pid,
                allocator,
                pool,
                bytes,
            } if self.program.pids.contains(&pid) => {
                self.program.next += 1;
                let key = self.program.next;
                let held = Held {
                    pid,
                    allocator,
                    pool,
                    bytes,
                };
                self.program.held.insert(key, held);
                if let Some(proc) = self.seen(pid, Since::Attach) {
                    self.place(self.owner(proc, allocator));
                    let row = self.row_key(proc, &held);
                    self.kernel.live.insert(key, row);
                    self.change(EventKind::Alloc, key, row, &held);
                }
            }
            Step::Free(which) if !self.program.held.is_empty() => {
                let keys: Vec<u64> = self.program.held.keys().copied().collect();
                let key = *which.get(&keys);
                let Some(held) = self.program.held.remove(&key) else {
                    return;
                };
                if self.seen(held.pid, Since::Attach).is_some()
                    && let Some(row) = self.kernel.live.remove(&key)
                {
                    self.change(EventKind::Free, key, row, &held);
                }
            }
            Step::FreeAll { pid, allocator } if self.program.pids.contains(&pid) => {
                self.program
                    .held
                    .retain(|_, held| (held.pid, held.allocator) != (pid, allocator));
                let Some(proc) = self.seen(pid, Since::Attach) else {
                    return;
                };
                let owner = self.owner(proc, allocator);
                self.kernel.live.retain(|_, row| OwnerId::of(row) != owner);
                let generation = self.kernel.generations.entry(owner).or_default();
                let ended = *generation;
                *generation += 1;
                // What the control ring loses is found in the map when totals are read.
                if !self.kernel.lost {
                    self.tell(vec![Fact::FreedAll { owner, ended }]);
                }
            }
            Step::Fork { pid } => {
                let child = 1 + pid % 3;
                if self.program.pids.contains(&pid) && self.program.pids.insert(child) {
                    // What it inherits is its parent's.
                    self.seen(child, Since::Start);
                }
            }
            // The ledger knows it as nobody's.
            Step::FreeInherited { pid } if self.program.pids.contains(&pid) => {
                if let Some(proc) = self.seen(pid, Since::Attach) {
                    let event = Event {
                        kind: EventKind::UnknownFree,
                        time_ns: self.kernel.now_ns,
                        proc,
                        pid,
                        tid: pid,
                        key: u64::MAX,
                        row: RowKey {
                            proc,
                            ..RowKey::default()
                        },
                        sequence: 0,
                        requested: 0,
                        charged: 0,
                        address: 0,
                    };
                    self.kernel.ring.push(event);
                }
            }
            Step::Exec { pid } if self.program.pids.contains(&pid) => {
                self.end(pid, true);
                // It is another program now, which holds nothing.
                self.seen(pid, Since::Start);
            }
            Step::Exit { pid } if self.program.pids.remove(&pid) => self.end(pid, false),
            Step::Attach => self.kernel.attached = true,
            Step::Recover { pid } if self.program.pids.contains(&pid) => self.recover(pid),
            Step::Read if self.kernel.attached => self.read(),
            Step::Overtaken => match self.kernel.reading.take() {
                Some(rows) => {
                    // Of those that were not forgotten meanwhile.
                    let known = |fact: &Fact| match fact {
                        Fact::Row { key, .. } => self.replica.tables.knows_process(key.proc),
                        Fact::Generation { owner, .. } => {
                            self.replica.tables.knows_process(owner.proc)
                        }
                        _ => true,
                    };
                    let rows = rows.into_iter().filter(known).collect();
                    self.tell(rows);
                }
                None => self.kernel.reading = Some(self.rows()),
            },
            Step::Drain => self.drain(),
            Step::Lose(count) => {
                let left = self.kernel.ring.len().saturating_sub(usize::from(count));
                self.kernel.lost = count % 2 == 0;
                self.kernel.ring.truncate(left);
            }
            Step::Follow => self.follow(),
            Step::Later => {
                self.kernel.now_ns += EXITED_SHOWN_NS + 1;
                let expired = self.replica.tables.expired(self.kernel.now_ns).procs;
                self.forget(expired);
            }
            _ => {}
        }
    }

    fn recover(&mut self, pid: u32) {
        let Some(proc) = self.seen(pid, Since::Attach) else {
            return;
        };
        if self.kernel.since_start.contains(&proc) || !self.kernel.recovered.insert(proc) {
            return;
        }
        let unseen: Vec<(u64, Held)> = self
            .program
            .held
            .iter()
            .filter(|(key, held)| held.pid == pid && !self.kernel.live.contains_key(*key))
            .map(|(key, held)| (*key, *held))
            .collect();
        let mut sums = BTreeMap::<RowKey, Baseline>::new();
        let mut live = Vec::new();
        for (key, held) in unseen {
            self.place(self.owner(proc, held.allocator));
            let row = self.row_key(proc, &held);
            self.kernel.live.insert(key, row);
            let bytes = held.bytes.unsigned_abs();
            sums.entry(row).or_default().add(bytes, bytes);
            live.push(LiveEntry {
                proc,
                owner: held.allocator,
                pool: held.pool,
                ogen: row.ogen,
                key,
                requested: bytes,
                charged: bytes,
                ..LiveEntry::default()
            });
        }
        let mut facts = vec![Fact::Live(live)];
        facts.extend(
            sums.into_iter()
                .map(|(key, baseline)| Fact::Baseline { key, baseline }),
        );
        facts.push(Fact::Since {
            proc,
            since: Since::Recovered,
        });
        self.tell(facts);
    }

    /// From now on the tables are those of somebody who came late.
    fn follow(&mut self) {
        let mut facts = self.replica.tables.checkpoint();
        facts.push(Fact::Live(self.replica.live.iter().copied().collect()));
        let text = serde_json::to_vec(&Batch {
            facts,
            ..Batch::default()
        });
        let late = Replica::of(&serde_json::from_slice(&text.unwrap()).unwrap());
        let (before, after) = (
            self.replica.snapshot(String::new()),
            late.snapshot(String::new()),
        );
        assert_eq!(before, after, "who follows sees something else");
        self.replica = late;
    }

    /// What must hold whatever was lost.
    fn check_always(&self, snapshot: &Snapshot) {
        let running = |state: &str| state == "running";
        let mut devices = BTreeMap::<(Option<i64>, String), Option<u64>>::new();
        for process in &snapshot.processes {
            for row in process.usage.iter().flatten() {
                let charged = row.charged_bytes;
                let peak = row.peak_charged_bytes;
                // Wrapped around, it would be enormous.
                for number in [charged, peak, row.requested_bytes, row.live_allocations] {
                    assert!(number.is_none_or(|number| number < 1 << 32), "{row:?}");
                }
                assert!(
                    charged.is_some() || !row.exact,
                    "unknown, but exact: {row:?}"
                );
                assert!(peak >= charged, "the peak is below what is held: {row:?}");
                if running(&process.state) {
                    let sum = devices
                        .entry((row.device, row.pool.clone()))
                        .or_insert(Some(0));
                    *sum = sum.zip(charged).map(|(sum, more)| sum + more);
                }
            }
        }
        for device in &snapshot.devices {
            for pool in &device.pools {
                let Some(Some(sum)) = devices.get(&(device.device, pool.pool.clone())) else {
                    continue;
                };
                assert_eq!(
                    pool.charged_bytes,
                    Some(*sum),
                    "{device:?} is not the sum of {:#?}",
                    snapshot.processes
                );
                assert!(pool.peak_charged_bytes >= pool.charged_bytes, "{pool:?}");
            }
        }
        let inexact = snapshot
            .processes
            .iter()
            .flat_map(|process| process.usage.iter().flatten())
            .filter(|row| !row.exact);
        assert_eq!(snapshot.health.inexact_rows, inexact.count() as u64);
        for proc in &self.forgotten {
            let left = self.replica.tables.rows_of(*proc).count();
            assert_eq!(left, 0, "rows of a process that was forgotten");
        }
    }

    /// Once totals have been read: every exact row is the truth, and nothing that is held by a
    /// process whose past is known is missing.
    fn check_truth(&self, snapshot: &Snapshot) {
        let mut truth = self.program.sums();
        for process in snapshot.processes.iter().filter(|p| p.state == "running") {
            for row in process.usage.iter().flatten() {
                let pool = row.pool.trim_start_matches('P').parse().unwrap();
                let held = truth
                    .remove(&(process.pid, row.device.unwrap(), pool))
                    .unwrap_or_default();
                let shown = (row.charged_bytes, row.live_allocations);
                if row.exact {
                    assert_eq!(shown, (Some(held.0), Some(held.1)), "{row:?}");
                }
                // Less than is held may be known of a past that is not; more never.
                assert!(
                    row.charged_bytes.is_none_or(|charged| charged <= held.0),
                    "{row:?}: {held:?}"
                );
            }
        }
        for (pid, chip, pool) in truth.into_keys() {
            let past_is_known = self.kernel.procs.get(&pid).is_some_and(|proc| {
                self.kernel.since_start.contains(proc) || self.kernel.recovered.contains(proc)
            });
            assert!(
                !past_is_known,
                "not shown: pid {pid}, chip {chip}, pool {pool}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_what_is_shown_is_true_or_marked(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            let snapshot = run.replica.snapshot(String::new());
            run.check_always(&snapshot);
            if run.current {
                run.check_truth(&snapshot);
            }
        }
        run.kernel.attached = true;
        run.read();
        let snapshot = run.replica.snapshot(String::new());
        run.check_always(&snapshot);
        run.check_truth(&snapshot);
    }

    /// Where nothing is lost, events alone are enough, at every step.
    #[test]
    fn without_loss_no_reading_is_needed(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        run.kernel.attached = true;
        for step in steps {
            if matches!(step, Step::Lose(_) | Step::Read | Step::Overtaken) {
                continue;
            }
            run.step(&step);
            run.drain();
            let snapshot = run.replica.snapshot(String::new());
            run.check_always(&snapshot);
            run.check_truth(&snapshot);
        }
    }
}
