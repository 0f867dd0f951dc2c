//! The feed, against [`Rules`]: whatever happens, Tracy's rules hold and what stands is true.

use std::collections::BTreeMap;

use memmon_ebpf::ledger::{RowKey, RowValue};
use proptest::prelude::*;

use super::{emit::Severity, feed::Feed, rules::Rules};
use crate::tables::{
    Batch, Fact, Filter,
    event::{Event, EventKind},
    facts::{DeviceFacts, OwnerId, Placement, PoolFacts, ProcessFacts, RuntimeFacts},
    live::LiveEntry,
    snapshot::{Failure, Observer},
};

fn batch(facts: Vec<Fact>) -> Batch {
    Batch {
        facts,
        ..Batch::default()
    }
}

fn start() -> Fact {
    let pool = |name: &str, charged| PoolFacts {
        name: name.to_owned(),
        charged,
    };
    Fact::Start {
        host: "host".to_owned(),
        observer: Observer::default(),
        runtimes: vec![RuntimeFacts {
            name: "rt".to_owned(),
            pools: BTreeMap::from([(0, pool("DRAM", true)), (1, pool("CB", false))]),
        }],
    }
}

fn process(proc: u64) -> Fact {
    Fact::Process {
        proc,
        facts: Box::new(ProcessFacts {
            pid: proc as u32 + 100,
            comm: "work".to_owned(),
            ..ProcessFacts::default()
        }),
    }
}

fn owner(proc: u64, owner: u64) -> OwnerId {
    OwnerId {
        proc,
        space: 0,
        owner,
    }
}

fn placed(id: OwnerId, devices: &[(i64, &str)]) -> Fact {
    let devices = devices.iter().map(|(id, uid)| DeviceFacts {
        id: Some(*id),
        uid: Some((*uid).to_owned()),
        name: None,
    });
    Fact::Placement {
        owner: id,
        ogen: 0,
        placement: Placement {
            devices: devices.collect(),
            pools: BTreeMap::new(),
        },
    }
}

fn entry(proc: u64, owner: u64, key: u64, address: u64, bytes: u64) -> LiveEntry {
    LiveEntry {
        proc,
        owner,
        key,
        requested: bytes,
        charged: bytes * 2,
        address,
        ..LiveEntry::default()
    }
}

fn event(kind: EventKind, entry: &LiveEntry) -> Fact {
    Fact::Event(Event {
        kind,
        time_ns: 1,
        proc: entry.proc,
        pid: entry.proc as u32 + 100,
        tid: 1,
        key: entry.key,
        row: entry.row_key(),
        sequence: 0,
        requested: entry.requested,
        charged: entry.charged,
        address: entry.address,
    })
}

fn row(entry: &LiveEntry, sequence: u64, charged: i64) -> Fact {
    Fact::Row {
        key: RowKey {
            ogen: entry.ogen,
            ..entry.row_key()
        },
        value: RowValue {
            requested: charged / 2,
            charged,
            live: i64::from(charged > 0),
            allocations: 1,
            sequence,
            ..RowValue::default()
        },
    }
}

/// A process on two chips that holds one block, recovered.
fn recovered() -> (Feed, Rules, LiveEntry) {
    let (mut feed, mut tracy) = (Feed::default(), Rules::default());
    let held = entry(1, 1, 1, 0x1000, 100);
    tracy.take(feed.apply(&batch(vec![
        start(),
        process(1),
        placed(owner(1, 1), &[(0, "a"), (1, "b")]),
        row(&held, 1, 200),
        Fact::Live(vec![held]),
    ])));
    (feed, tracy, held)
}

#[test]
fn what_stands_is_told_first() {
    let (mut feed, mut tracy, held) = recovered();
    assert_eq!(
        tracy.blocks(),
        [("rt:0 DRAM", 0x1000, 200), ("rt:1 DRAM", 0x1000, 200)]
    );
    tracy.take(feed.refresh());
    let plots = [("work[101] rt:0 DRAM", 200), ("work[101] rt:1 DRAM", 200)];
    assert_eq!(tracy.plots(), plots);
    assert_eq!(tracy.frames, 1);
    // A free of what was never told is not told; one of what was, is.
    let strange = entry(1, 1, 77, 0x9000, 8);
    tracy.take(feed.apply(&batch(vec![event(EventKind::Free, &strange)])));
    tracy.take(feed.apply(&batch(vec![
        event(EventKind::Free, &held),
        row(&held, 2, 0),
    ])));
    tracy.take(feed.refresh());
    assert_eq!((tracy.frees, tracy.blocks()), (2, vec![]));
    assert_eq!(tracy.plots(), []);
}

#[test]
fn all_at_once() {
    for end in [
        Fact::FreedAll {
            owner: owner(1, 1),
            ended: 0,
        },
        Fact::Generation {
            owner: owner(1, 1),
            ogen: 1,
        },
        Fact::Exited { proc: 1, at_ns: 1 },
        Fact::Forget { proc: 1 },
    ] {
        let (mut feed, mut tracy, held) = recovered();
        // The end may be told before what came before it.
        let late = entry(1, 1, 2, 0x2000, 100);
        let told = batch(vec![
            end.clone(),
            event(EventKind::Alloc, &late),
            event(EventKind::Free, &held),
        ]);
        tracy.take(feed.apply(&told));
        tracy.take(feed.refresh());
        assert_eq!(tracy.blocks(), [], "{end:?}");
        assert_eq!(tracy.plots(), [], "{end:?}");
        // Much later, too.
        let later = entry(1, 1, 3, 0x3000, 100);
        tracy.take(feed.apply(&batch(vec![event(EventKind::Alloc, &later)])));
        assert_eq!(tracy.blocks(), [], "{end:?}");
    }
}

#[test]
fn one_address_of_two_processes() {
    let (mut feed, mut tracy, held) = recovered();
    let other = entry(2, 9, 1, held.address, 300);
    tracy.take(feed.apply(&batch(vec![
        process(2),
        placed(owner(2, 9), &[(0, "a")]),
        event(EventKind::Alloc, &other),
    ])));
    let sizes: Vec<u64> = tracy.blocks().iter().map(|(_, _, size)| *size).collect();
    assert_eq!(sizes, [200, 600, 200]);
    // The first has the address itself, the second one of its own.
    assert_eq!(tracy.pointers("rt:0 DRAM"), [0x1000, 0x1000 + (1 << 48)]);
    tracy.take(feed.apply(&batch(vec![event(EventKind::Free, &held)])));
    assert_eq!(tracy.pointers("rt:0 DRAM"), [0x1000 + (1 << 48)]);
    // What is free is free.
    let again = entry(1, 1, 2, held.address, 100);
    tracy.take(feed.apply(&batch(vec![event(EventKind::Alloc, &again)])));
    assert_eq!(tracy.pointers("rt:0 DRAM"), [0x1000, 0x1000 + (1 << 48)]);
}

#[test]
fn where_it_lies_is_told_behind() {
    let (mut feed, mut tracy) = (Feed::default(), Rules::default());
    let held = entry(1, 1, 1, 0x1000, 100);
    let told = vec![start(), process(1), event(EventKind::Alloc, &held)];
    tracy.take(feed.apply(&batch(told)));
    assert_eq!(tracy.blocks(), [("rt:? DRAM", 0x1000, 200)]);
    tracy.take(feed.apply(&batch(vec![placed(owner(1, 1), &[(3, "c")])])));
    assert_eq!(tracy.blocks(), [("rt:3 DRAM", 0x1000, 200)]);
}

#[test]
fn what_is_not_charged_has_the_size_that_was_asked_for() {
    let (mut feed, mut tracy, mut held) = recovered();
    held.pool = 1;
    held.key = 5;
    held.charged = 0;
    tracy.take(feed.apply(&batch(vec![event(EventKind::Alloc, &held)])));
    assert!(tracy.blocks().contains(&("rt:0 CB", 0x1000, 100)));
}

#[test]
fn only_what_was_asked_for() {
    let filter = Filter {
        devices: vec![1],
        ..Filter::default()
    };
    let (mut feed, mut tracy) = (Feed::new(filter), Rules::default());
    let held = entry(1, 1, 1, 0x1000, 100);
    tracy.take(feed.apply(&batch(vec![
        start(),
        process(1),
        placed(owner(1, 1), &[(0, "a"), (1, "b")]),
        row(&held, 1, 200),
        event(EventKind::Alloc, &held),
    ])));
    tracy.take(feed.refresh());
    assert_eq!(tracy.blocks(), [("rt:1 DRAM", 0x1000, 200)]);
    assert_eq!(tracy.plots(), [("work[101] rt:1 DRAM", 200)]);
}

#[test]
fn a_failure_is_told_once() {
    let (mut feed, mut tracy, _) = recovered();
    let failure = Fact::Failure(Box::new(Failure {
        comm: "work".to_owned(),
        pid: 101,
        runtime: "rt".to_owned(),
        devices: vec![Some(0)],
        pool: "DRAM".to_owned(),
        requested_bytes: 1 << 30,
        free_bytes: Some(5),
        number: 1,
        ..Failure::default()
    }));
    tracy.take(feed.apply(&batch(vec![failure.clone()])));
    // It fell behind, and follows anew.
    tracy.take(feed.apply(&batch(vec![start(), process(1), failure])));
    let [(Severity::Error, text)] = &tracy.messages[..] else {
        panic!("{:?}", tracy.messages);
    };
    let said = "out of memory: work[101] asked for 1,073,741,824 B of DRAM on rt:0; free 5 B";
    assert!(text.starts_with(said), "{text}");
}

/// What happens, and when a batch of it is told.
#[derive(Clone, Debug)]
enum Step {
    Alloc { proc: u64, owner: u64, slot: u64 },
    Free { which: usize },
    FreeAll { proc: u64, owner: u64 },
    Exit { proc: u64 },
    Batch { control_first: bool },
    Lag,
}

fn step() -> impl Strategy<Value = Step> {
    let (proc, at) = (1..4_u64, 1..3_u64);
    prop_oneof![
        6 => (proc.clone(), at.clone(), 0..4_u64)
            .prop_map(|(proc, owner, slot)| Step::Alloc { proc, owner, slot }),
        4 => any::<usize>().prop_map(|which| Step::Free { which }),
        1 => (proc.clone(), at).prop_map(|(proc, owner)| Step::FreeAll { proc, owner }),
        1 => proc.prop_map(|proc| Step::Exit { proc }),
        4 => any::<bool>().prop_map(|control_first| Step::Batch { control_first }),
        1 => Just(Step::Lag),
    ]
}

#[derive(Default)]
struct World {
    live: Vec<LiveEntry>,
    generations: BTreeMap<(u64, u64), u32>,
    exited: Vec<u64>,
    told: Vec<Fact>,
    next: u64,
}

impl World {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Alloc { proc, owner, slot } if !self.exited.contains(&proc) => {
                self.next += 1;
                // Keys are addresses of objects, and come again; so do addresses on the device.
                let key = proc * 100 + owner * 10 + self.next % 7;
                let taken = |live: &LiveEntry| live.proc == proc && live.key == key;
                if self.live.iter().any(taken) {
                    return;
                }
                let mut entry = entry(proc, owner, key, slot * 4096, self.next);
                entry.ogen = self.generations.get(&(proc, owner)).copied().unwrap_or(0);
                self.told.push(event(EventKind::Alloc, &entry));
                self.live.push(entry);
            }
            Step::Free { which } if !self.live.is_empty() => {
                let entry = self.live.swap_remove(which % self.live.len());
                self.told.push(event(EventKind::Free, &entry));
            }
            Step::FreeAll { proc, owner: at } if !self.exited.contains(&proc) => {
                let ended = self.generations.get(&(proc, at)).copied().unwrap_or(0);
                self.generations.insert((proc, at), ended + 1);
                self.live
                    .retain(|live| (live.proc, live.owner) != (proc, at));
                self.told.push(Fact::FreedAll {
                    owner: owner(proc, at),
                    ended,
                });
            }
            Step::Exit { proc } if !self.exited.contains(&proc) => {
                self.exited.push(proc);
                self.live.retain(|live| live.proc != proc);
                self.told.push(Fact::Exited { proc, at_ns: 1 });
            }
            _ => {}
        }
    }

    fn checkpoint(&self) -> Vec<Fact> {
        let mut facts = vec![start()];
        for proc in 1..4 {
            facts.push(process(proc));
            for at in 1..3 {
                facts.push(placed(
                    owner(proc, at),
                    &[(0, "a"), (1, "b")][..at as usize],
                ));
            }
        }
        for ((proc, at), ogen) in &self.generations {
            facts.push(Fact::Generation {
                owner: owner(*proc, *at),
                ogen: *ogen,
            });
        }
        for proc in &self.exited {
            facts.push(Fact::Exited {
                proc: *proc,
                at_ns: 1,
            });
        }
        facts.push(Fact::Live(self.live.clone()));
        facts
    }

    fn blocks(&self) -> Vec<(&'static str, u64, u64)> {
        let mut blocks = Vec::new();
        for live in &self.live {
            for pool in ["rt:0 DRAM", "rt:1 DRAM"].iter().take(live.owner as usize) {
                blocks.push((*pool, live.address, live.charged));
            }
        }
        blocks.sort_unstable();
        blocks
    }
}

proptest! {
    /// Batches in the order in which they are drained (control records may overtake events), and
    /// batches that are lost to a slow connection.
    #[test]
    fn whatever_happens(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World::default();
        let (mut feed, mut tracy) = (Feed::default(), Rules::default());
        tracy.take(feed.apply(&batch(world.checkpoint())));
        for step in &steps {
            world.step(step);
            let mut told = match step {
                Step::Batch { .. } => std::mem::take(&mut world.told),
                Step::Lag => {
                    world.told.clear();
                    world.checkpoint()
                }
                _ => continue,
            };
            if let Step::Batch { control_first: true } = step {
                told.sort_by_key(|fact| matches!(fact, Fact::Event(_)));
            }
            tracy.take(feed.apply(&batch(told)));
            prop_assert_eq!(tracy.blocks(), world.blocks());
        }
    }
}
