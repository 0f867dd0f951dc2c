//! Facts in the order in which they happened.
//!
//! What the kernel reports at once (an allocator is made, all is freed, a process ends) overtakes
//! the history, which waits for a refresh. Here each event goes back to where it belongs, so that a
//! recording can be stopped at any moment.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
};

use memmon_ebpf::ledger::RowKey;

use crate::tables::{
    Batch, Fact,
    event::{Event, EventKind},
    facts::{OwnerId, Proc, Since},
};

/// An event, and what was found out about it (a failure).
struct Happening {
    event: Event,
    about: Option<Fact>,
}

/// When somebody or something is first heard of in batches: the batch in which that happened, which
/// may be one before the batch that tells of it.
struct Firsts {
    processes: HashMap<Proc, usize>,
    owners: HashMap<(OwnerId, u32), usize>,
}

impl Firsts {
    /// Of those that are introduced here; there are mostly none.
    fn of(batches: &[Batch], ends: &[u64]) -> Self {
        let mut firsts = Self {
            processes: HashMap::new(),
            owners: HashMap::new(),
        };
        for fact in batches.iter().flat_map(|batch| &batch.facts) {
            match fact {
                Fact::Process { proc, .. } => {
                    firsts.processes.insert(*proc, usize::MAX);
                }
                Fact::Placement { owner, ogen, .. } | Fact::OwnerOpened { owner, ogen } => {
                    firsts.owners.insert((*owner, *ogen), usize::MAX);
                }
                _ => {}
            }
        }
        if firsts.processes.is_empty() && firsts.owners.is_empty() {
            return firsts;
        }
        for fact in batches.iter().flat_map(|batch| &batch.facts) {
            let Fact::Event(event) = fact else { continue };
            let due = ends.partition_point(|end| *end < event.time_ns);
            let owner = (OwnerId::of(&event.row), event.row.ogen);
            let firsts = [
                firsts.processes.get_mut(&event.proc),
                firsts.owners.get_mut(&owner),
            ];
            for first in firsts.into_iter().flatten() {
                *first = due.min(*first);
            }
        }
        firsts
    }

    /// The batch where a fact that stands in batch `at` has to be known. What else is said of a
    /// process, and in which order, matters from the second time on.
    fn due(&self, fact: &Fact, at: usize, introduced: &HashMap<Proc, usize>) -> usize {
        let first = match fact {
            Fact::Process { proc, .. }
            | Fact::Understood { proc, .. }
            | Fact::Since { proc, .. }
            | Fact::Unseen { proc, .. }
                if introduced.get(proc) == Some(&at) =>
            {
                self.processes.get(proc)
            }
            Fact::Placement { owner, ogen, .. } | Fact::OwnerOpened { owner, ogen } => {
                self.owners.get(&(*owner, *ogen))
            }
            _ => None,
        };
        first.map_or(at, |first| at.min(*first))
    }
}

/// Batches in the order in which they were told, and the same in the order of what happened. In
/// each: who and where it is about; then events, by their own times; then what was recovered, and
/// events of whom it was recovered of; then the state at its end.
pub fn by_time(batches: Vec<Batch>) -> Vec<Batch> {
    let mut settled: HashMap<Proc, usize> = HashMap::new();
    let mut introduced: HashMap<Proc, usize> = HashMap::new();
    let ends: Vec<u64> = batches.iter().map(|batch| batch.boot_ns).collect();
    let firsts = Firsts::of(&batches, &ends);
    let mut parts: Vec<[Vec<Fact>; 3]> = ends.iter().map(|_| Default::default()).collect();
    let mut happened: Vec<Vec<Happening>> = ends.iter().map(|_| Vec::new()).collect();
    // Of processes that were recovered in that batch.
    let mut after: Vec<Vec<Happening>> = ends.iter().map(|_| Vec::new()).collect();
    let mut stamps = Vec::new();
    for (at, batch) in batches.into_iter().enumerate() {
        stamps.push((batch.epoch_ns, batch.boot_ns));
        let [mut found, mut last] = [Vec::new(), Vec::new()];
        let mut failed = VecDeque::new();
        for fact in batch.facts {
            match fact {
                Fact::Event(event) => {
                    let due = ends.partition_point(|end| *end < event.time_ns).min(at);
                    // What was recovered of a process holds from there on.
                    let recovered = settled.get(&event.proc).copied();
                    let to = match recovered {
                        Some(recovered) if recovered >= due => after.get_mut(recovered),
                        _ => happened.get_mut(due),
                    };
                    let is_after = recovered.is_some_and(|recovered| recovered >= due);
                    let due = recovered.map_or(due, |recovered| recovered.max(due));
                    let Some(to) = to else { continue };
                    if event.kind == EventKind::Failed {
                        failed.push_back((is_after, due, to.len()));
                    }
                    to.push(Happening { event, about: None });
                }
                // Failures are told in the order of their events.
                Fact::Failure(_) => {
                    let event = failed.pop_front().and_then(|(is_after, due, place)| {
                        let lists = if is_after { &mut after } else { &mut happened };
                        let list: &mut Vec<Happening> = lists.get_mut::<usize>(due)?;
                        list.get_mut::<usize>(place)
                    });
                    match event {
                        Some(happening) => happening.about = Some(fact),
                        None => last.push(fact),
                    }
                }
                Fact::Live(ref list) => {
                    settled.extend(list.iter().map(|entry| (entry.proc, at)));
                    found.push(fact);
                }
                Fact::Baseline { key, .. } => {
                    settled.insert(key.proc, at);
                    found.push(fact);
                }
                Fact::Gone(_) => found.push(fact),
                Fact::Recovered { .. }
                | Fact::Since {
                    since: Since::Recovered,
                    ..
                } => found.push(fact),
                fact if is_introduction(&fact) => {
                    if let Fact::Process { proc, .. } = &fact {
                        introduced.entry(*proc).or_insert(at);
                    }
                    let due = firsts.due(&fact, at, &introduced);
                    if let Some([first, ..]) = parts.get_mut(due) {
                        first.push(fact);
                    }
                }
                fact => last.push(fact),
            }
        }
        if let Some([_, own_found, own_last]) = parts.get_mut(at) {
            (*own_found, *own_last) = (found, last);
        }
    }
    stamps
        .into_iter()
        .zip(parts)
        .zip(happened.into_iter().zip(after))
        .map(|((stamp, [first, found, last]), (happened, after))| {
            let (epoch_ns, boot_ns) = stamp;
            let mut facts = first;
            let put = |facts: &mut Vec<Fact>, happened| {
                for Happening { event, about } in sorted(happened) {
                    facts.push(Fact::Event(event));
                    facts.extend(about);
                }
            };
            put(&mut facts, happened);
            facts.extend(found);
            put(&mut facts, after);
            facts.extend(last);
            Batch {
                epoch_ns,
                boot_ns,
                facts,
            }
        })
        .collect()
}

/// Facts that tell who somebody is and where things are: they hold before the events that were told
/// with them, too.
pub fn is_introduction(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Start { .. }
            | Fact::Process { .. }
            | Fact::Understood { .. }
            | Fact::Since {
                since: Since::Start | Since::Attach,
                ..
            }
            | Fact::Unseen { .. }
            | Fact::Placement { .. }
            | Fact::OwnerOpened { .. }
    )
}

/// By time; and those of one row in the order in which they changed it, for processors that write
/// side by side may do so out of order.
fn sorted(mut happened: Vec<Happening>) -> Vec<Happening> {
    happened.sort_by_key(|happening| happening.event.time_ns);
    let mut last = HashMap::<RowKey, u32>::new();
    let in_order = happened
        .iter()
        .filter(|happening| happening.event.sequence != 0)
        .all(|Happening { event, .. }| {
            last.insert(event.row, event.sequence)
                .is_none_or(|before| event.sequence.wrapping_sub(before).cast_signed() >= 0)
        });
    if in_order {
        return happened;
    }
    // Each row's events change places among themselves.
    let mut rows = HashMap::<RowKey, (u32, Vec<usize>)>::new();
    for (place, Happening { event, .. }) in happened.iter().enumerate() {
        if event.sequence != 0 {
            rows.entry(event.row)
                .or_insert_with(|| (event.sequence, Vec::new()))
                .1
                .push(place);
        }
    }
    let mut slots: Vec<Option<Happening>> = happened.into_iter().map(Some).collect();
    for (first, places) in rows.into_values() {
        let mut own: Vec<Happening> = places
            .iter()
            .filter_map(|place| slots.get_mut(*place)?.take())
            .collect();
        own.sort_by_key(|Happening { event, .. }| {
            Reverse(event.sequence.wrapping_sub(first).cast_signed())
        });
        for place in places {
            if let Some(slot) = slots.get_mut(place) {
                *slot = own.pop();
            }
        }
    }
    slots.into_iter().flatten().collect()
}
