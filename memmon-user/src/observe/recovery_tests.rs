//! "What is recovered + what is seen = truth", in every order in which it can happen.
//!
//! A model of three parties that take turns in every possible way: threads of a program that
//! allocate and free, the kernel's ledger at the probes, and the observer that places the probes,
//! reads the program's memory and takes in what it found. When all are done, the tables, told what
//! the ledger and the observer know, must show what the program holds.
//!
//! The ledger's rules are those of `memmon-ebpf/src/programs/ledger`, and the observer's order is
//! that of [`super::recovery`], [`super::discovery`] and [`crate::attach::plan`].

use std::collections::{BTreeMap, HashSet};

use memmon_ebpf::ledger::{RowKey, RowValue};

use crate::tables::{
    Tables,
    facts::{Baseline, OwnerId, ProcessFacts, RuntimeFacts, Since},
    snapshot::Observer,
};

/// What a thread does, as far as anybody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Op {
    /// The probe on the attempt; nothing is taken yet.
    Attempt(u8),
    /// A block of the pool is taken.
    Take(u8),
    /// The buffer is in the set of those that are live.
    Insert(u8),
    /// The probe on the commit.
    Commit(u8),
    /// The probe on the free.
    Free(u8),
    Erase(u8),
    GiveBack(u8),
    /// The probe on the end of everything that the allocator holds, and that end.
    FreeAll,
    EraseAll,
}

fn alloc(key: u8) -> Vec<Op> {
    vec![
        Op::Attempt(key),
        Op::Take(key),
        Op::Insert(key),
        Op::Commit(key),
    ]
}

fn free(key: u8) -> Vec<Op> {
    vec![Op::Free(key), Op::Erase(key), Op::GiveBack(key)]
}

fn free_all() -> Vec<Op> {
    vec![Op::FreeAll, Op::EraseAll]
}

/// Each buffer has its own size, so that no error cancels another.
fn bytes(key: u8) -> i64 {
    1 << (4 * key)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Entry {
    Seen(u32),
    Recovered(u32),
    Tombstone,
}

/// What the observer does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    PlaceFree,
    PlaceFreeAll,
    PlaceCommit,
    PlaceAttempt,
    /// Reads which allocators the ledger knows.
    Owners,
    Recovering,
    /// Reads the allocator, until two readings in a row add up and are the same.
    Walk,
    AddOwner,
    AddBuffers,
    Recovered,
}

const ORDER: [Act; 10] = [
    Act::PlaceFree,
    Act::PlaceFreeAll,
    Act::PlaceCommit,
    Act::PlaceAttempt,
    Act::Owners,
    Act::Recovering,
    Act::Walk,
    Act::AddOwner,
    Act::AddBuffers,
    Act::Recovered,
];

type Sums = BTreeMap<u32, (i64, i64)>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct World {
    // The program.
    done: [usize; 2],
    /// The thread went past a place where nobody watched yet, and what follows is still to come.
    unwatched: [bool; 2],
    set: Vec<u8>,
    taken: Vec<u8>,
    // The ledger.
    placed: Vec<&'static str>,
    recovering: bool,
    pending: [bool; 2],
    live: BTreeMap<u8, Entry>,
    owner: Option<u32>,
    rows: Sums,
    // The observer.
    acts: usize,
    known: u32,
    reading: Option<Vec<u8>>,
    settled: bool,
    to_add: Vec<u8>,
    baselines: Sums,
}

fn add(sums: &mut Sums, ogen: u32, sign: i64, key: u8) {
    let sum = sums.entry(ogen).or_default();
    sum.0 += sign * bytes(key);
    sum.1 += sign;
}

impl World {
    fn has(&self, probe: &str) -> bool {
        self.placed.contains(&probe)
    }

    fn thread(&mut self, thread: usize, op: Op) {
        match op {
            Op::Attempt(_) => {
                self.pending[thread] = self.has("attempt");
                self.unwatched[thread] = !self.pending[thread];
            }
            Op::Take(key) => {
                insert(&mut self.taken, key);
                self.unwatched[thread] = false;
            }
            Op::Insert(key) => insert(&mut self.set, key),
            Op::Commit(key) => {
                if self.has("commit") && std::mem::take(&mut self.pending[thread]) {
                    self.allocated(key);
                }
            }
            Op::Free(key) => {
                let hit = self.has("free");
                self.unwatched[thread] = !hit || !self.recovering;
                if hit {
                    self.freed(key);
                }
            }
            Op::Erase(key) => self.set.retain(|other| *other != key),
            Op::GiveBack(key) => {
                self.taken.retain(|other| *other != key);
                self.unwatched[thread] = false;
            }
            Op::FreeAll => {
                let hit = self.has("free all");
                self.unwatched[thread] = !hit || !self.recovering;
                if hit {
                    match &mut self.owner {
                        Some(ogen) => *ogen += 1,
                        None if self.recovering => self.owner = Some(1),
                        None => {}
                    }
                }
            }
            Op::EraseAll => {
                self.set.clear();
                self.taken.clear();
                self.unwatched[thread] = false;
            }
        }
        self.done[thread] += 1;
    }

    fn allocated(&mut self, key: u8) {
        let ogen = *self.owner.get_or_insert(0);
        match self.live.get(&key).copied() {
            // The walk was faster.
            Some(Entry::Recovered(other)) if other == ogen => {
                self.live.insert(key, Entry::Seen(ogen));
                return;
            }
            Some(Entry::Seen(other) | Entry::Recovered(other)) if other == ogen => {
                add(&mut self.rows, other, -1, key);
            }
            _ => {}
        }
        self.live.insert(key, Entry::Seen(ogen));
        add(&mut self.rows, ogen, 1, key);
    }

    fn freed(&mut self, key: u8) {
        match self.live.get(&key).copied() {
            None if self.recovering => {
                self.live.insert(key, Entry::Tombstone);
            }
            None | Some(Entry::Tombstone) => {}
            Some(Entry::Seen(ogen) | Entry::Recovered(ogen)) => {
                self.live.remove(&key);
                if self.recovering {
                    self.live.insert(key, Entry::Tombstone);
                }
                add(&mut self.rows, ogen, -1, key);
            }
        }
    }

    fn observer(&mut self, act: Act) {
        match act {
            Act::PlaceFree => self.placed.push("free"),
            Act::PlaceFreeAll => self.placed.push("free all"),
            Act::PlaceCommit => self.placed.push("commit"),
            Act::PlaceAttempt => self.placed.push("attempt"),
            Act::Owners => self.known = self.owner.unwrap_or(0),
            Act::Recovering => self.recovering = true,
            Act::Walk => {
                let adds_up = self.set == self.taken;
                self.settled = adds_up && self.reading.as_ref() == Some(&self.set);
                self.reading = adds_up.then(|| self.set.clone());
                if !self.settled {
                    return;
                }
                self.to_add = self.reading.take().unwrap_or_default();
            }
            Act::AddOwner => {
                self.owner.get_or_insert(self.known);
            }
            Act::AddBuffers => {
                if let Some(key) = self.to_add.pop() {
                    if let std::collections::btree_map::Entry::Vacant(free) = self.live.entry(key) {
                        free.insert(Entry::Recovered(self.known));
                        add(&mut self.baselines, self.known, 1, key);
                    }
                    return;
                }
            }
            Act::Recovered => self.recovering = false,
        }
        self.acts += 1;
    }

    /// What the tables show, told the rows, the baselines and the allocator's generation.
    fn shown(&self) -> (Option<u64>, Option<u64>, bool) {
        let runtimes = vec![RuntimeFacts::default()];
        let mut tables = Tables::new(String::new(), Observer::default(), runtimes);
        tables.process(1, ProcessFacts::default());
        tables.understood(1, true);
        tables.since(1, Since::Recovered);
        let key = |ogen| RowKey {
            proc: 1,
            owner: 7,
            ogen,
            ..RowKey::default()
        };
        for (ogen, (charged, live)) in &self.rows {
            tables.row(
                key(*ogen),
                RowValue {
                    charged: *charged,
                    live: *live,
                    sequence: 1,
                    ..RowValue::default()
                },
            );
        }
        for (ogen, (charged, live)) in &self.baselines {
            tables.baseline(
                key(*ogen),
                Baseline {
                    charged: *charged,
                    live: *live,
                    ..Baseline::default()
                },
            );
        }
        let owner = OwnerId {
            proc: 1,
            space: 0,
            owner: 7,
        };
        tables.generation(owner, self.owner.unwrap_or(0));
        let snapshot = tables.snapshot(String::new());
        let mut usage = snapshot
            .processes
            .iter()
            .flat_map(|p| p.usage.iter().flatten());
        usage.next().map_or((Some(0), Some(0), true), |row| {
            (row.charged_bytes, row.live_allocations, row.exact)
        })
    }

    fn truth(&self) -> (Option<u64>, Option<u64>, bool) {
        let charged: i64 = self.set.iter().map(|key| bytes(*key)).sum();
        (
            Some(charged.unsigned_abs()),
            Some(self.set.len() as u64),
            true,
        )
    }
}

fn insert(keys: &mut Vec<u8>, key: u8) {
    keys.push(key);
    keys.sort_unstable();
}

/// What may be taken for granted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Granted {
    /// A thread that went past a place before anybody watched it there has done what it was about to
    /// do when the allocator is read: those are a few instructions, and placing probes and finding
    /// the allocator take longer.
    Brief,
    Nothing,
}

struct Explorer<'a> {
    threads: [&'a [Op]; 2],
    order: &'a [Act],
    granted: Granted,
    seen: HashSet<World>,
    wrong: Vec<World>,
    ends: usize,
}

impl Explorer<'_> {
    fn explore(&mut self, world: World) {
        let mut waiting = vec![world];
        while let Some(world) = waiting.pop() {
            if !self.seen.insert(world.clone()) {
                continue;
            }
            let mut moved = false;
            for (thread, ops) in self.threads.into_iter().enumerate() {
                if let Some(op) = ops.get(world.done[thread]) {
                    let mut next = world.clone();
                    next.thread(thread, *op);
                    waiting.push(next);
                    moved = true;
                }
            }
            if let Some(act) = self.order.get(world.acts) {
                // A walk that waits goes on when the threads have.
                moved = true;
                if !self.stalls(&world, *act) {
                    let mut next = world.clone();
                    next.observer(*act);
                    waiting.push(next);
                }
            }
            if !moved {
                self.ends += 1;
                if world.shown() != world.truth() {
                    self.wrong.push(world);
                }
            }
        }
    }

    /// Whether the walk would not see what a thread is about to do, nor would anybody else.
    fn stalls(&self, world: &World, act: Act) -> bool {
        self.granted == Granted::Brief && act == Act::Walk && world.unwatched != [false; 2]
    }
}

/// Everything that two threads and the observer can do to each other, where buffers 0 and 2 are
/// there before.
fn explore<'a>(threads: [&'a [Op]; 2], order: &'a [Act], granted: Granted) -> Explorer<'a> {
    let mut explorer = Explorer {
        threads,
        order,
        granted,
        seen: HashSet::new(),
        wrong: Vec::new(),
        ends: 0,
    };
    explorer.explore(World {
        set: vec![0, 2],
        taken: vec![0, 2],
        ..World::default()
    });
    explorer
}

/// What a thread may do with keys of its own: `old` is there before, `new` is not.
fn programs(old: u8, new: u8) -> Vec<Vec<Op>> {
    vec![
        vec![],
        alloc(new),
        free(old),
        [alloc(new), free(new)].concat(),
        [free(old), alloc(old)].concat(),
        [free(old), alloc(old), free(old)].concat(),
        [alloc(new), free(old)].concat(),
    ]
}

fn all_pairs() -> Vec<[Vec<Op>; 2]> {
    let mut pairs = Vec::new();
    for first in programs(0, 1) {
        for second in programs(2, 3) {
            pairs.push([first.clone(), second]);
        }
    }
    // Whoever ends everything is alone: the runtime sees to that.
    for rest in [vec![], alloc(0), alloc(1)] {
        pairs.push([[free_all(), rest.clone()].concat(), vec![]]);
        pairs.push([[alloc(1), free_all(), rest].concat(), vec![]]);
    }
    pairs
}

fn wrong_ends(order: &[Act], granted: Granted) -> (usize, usize, usize, Option<World>) {
    let (mut states, mut ends, mut wrong, mut example) = (0, 0, 0, None);
    for [first, second] in all_pairs() {
        let explorer = explore([&first, &second], order, granted);
        states += explorer.seen.len();
        ends += explorer.ends;
        wrong += explorer.wrong.len();
        example = example.or(explorer.wrong.into_iter().next());
    }
    (states, ends, wrong, example)
}

#[test]
fn recovered_and_seen_is_the_truth_in_every_order() {
    let (states, ends, wrong, example) = wrong_ends(&ORDER, Granted::Brief);
    assert!(ends > 1_000, "{ends} ends of {states} states");
    assert_eq!(wrong, 0, "of {ends}; such as {example:#?}");
}

/// What the protocol cannot see by itself: a thread that stands still in the wrong place all the
/// while. Whoever closes that gap takes this test away.
#[test]
fn what_is_taken_for_granted() {
    let (_, ends, wrong, _) = wrong_ends(&ORDER, Granted::Nothing);
    assert!(wrong > 0, "of {ends}");
}

/// Each rule of the order is there for a reason.
#[test]
fn no_other_order_will_do() {
    let moved = |act: Act, behind: Act| {
        let mut order: Vec<Act> = ORDER.into_iter().filter(|other| *other != act).collect();
        let at = order.iter().position(|other| *other == behind).unwrap();
        order.insert(at + 1, act);
        order
    };
    for (what, order) in [
        (
            "a beginning before the end",
            moved(Act::PlaceFree, Act::PlaceAttempt),
        ),
        ("probes after the walk", moved(Act::PlaceAttempt, Act::Walk)),
        (
            "traces of frees before all probes are there",
            [&[Act::Recovering], &ORDER[..]].concat(),
        ),
        ("no trace of frees", moved(Act::Recovered, Act::Recovering)),
    ] {
        let (_, ends, wrong, _) = wrong_ends(&order, Granted::Brief);
        assert!(wrong > 0, "{what}: right in all {ends}");
    }
}
