//! A process that never holds still, allocation by allocation.
//!
//! From when frees leave traces, whatever a thread has touched since stands among the live
//! allocations or the traces. So what the walk finds and neither has was there before, and was
//! missed; what is remembered all the while must be there; and every part of a pool that is taken
//! must be somebody's. Where all three hold, the totals are true as well: they are sums of just
//! these allocations, as long as the row itself is not in doubt.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    thread,
    time::{Duration, Instant},
};

use memmon_ebpf::ledger::RowKey;

use super::{
    compare::{Correction, ExaminedRow, Sums, Verdict},
    examine::{Context, ExaminedAllocator},
};
use crate::{
    observe::keys::live_key,
    runtimes::resolver::{FoundAllocation, FoundBlock, FoundOwner},
    tables::live::LiveEntry,
    target::threads,
};

/// Walks that are put together, at the least and at the most. One may miss something in a list that
/// changes under the eye.
const LEAST: usize = 3;
const MOST: usize = 24;
const REST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(400);
/// How long threads are waited for that want to run and do not.
const BREATH: Duration = Duration::from_millis(20);
const PATIENCE: usize = 15;

/// What is remembered at one moment.
struct Remembered {
    live: HashMap<u64, LiveEntry>,
    /// Live, or freed since frees leave traces.
    touched: HashSet<u64>,
}

/// What the walks have shown so far.
#[derive(Default)]
struct Seen {
    walks: usize,
    owners: Vec<FoundOwner>,
    /// Every allocation, and in how many walks it was.
    allocations: HashMap<u64, (FoundAllocation, usize)>,
    /// Blocks that every walk so far has shown, and that are nobody's.
    unexplained: Option<BTreeSet<FoundBlock>>,
}

impl Context<'_> {
    /// Settles those of `open` that it can, in a process of which nothing was claimed so far.
    pub(super) fn compare_moving(
        &self,
        allocator: &mut ExaminedAllocator,
        open: &mut BTreeSet<RowKey>,
    ) {
        let Some(before) = self.remembered(allocator.space) else {
            return;
        };
        let Some(seen) = self.walk_until_explained(allocator, &before) else {
            return;
        };
        let Some(after) = self.remembered(allocator.space) else {
            return;
        };
        for owner in &seen.owners {
            let key = self.key(allocator.space, owner);
            if !open.contains(&key) {
                continue;
            }
            let Some(verdict) = self.judge_moving(allocator, key, &seen, &before, &after) else {
                continue;
            };
            let row = self.readers.rows.get(key).unwrap_or_default();
            let baseline = self.baselines.get(&key).copied().unwrap_or_default();
            let ledger = Sums::of_row(&row, &baseline);
            let new = ExaminedRow {
                key,
                row,
                baseline,
                ledger,
                own: Some(match &verdict {
                    Verdict::Mend(mend) => ledger.plus(mend),
                    _ => ledger,
                }),
                verdict,
            };
            if !new.is_uncertain() {
                allocator.rows.insert(key, new);
                open.remove(&key);
            }
        }
    }

    /// None where it cannot be told.
    fn judge_moving(
        &self,
        allocator: &ExaminedAllocator,
        key: RowKey,
        seen: &Seen,
        before: &Remembered,
        after: &Remembered,
    ) -> Option<Verdict> {
        let of_row = |entry: &&LiveEntry| entry.row_key() == key;
        let mut missing: Vec<FoundAllocation> = seen
            .allocations
            .values()
            .filter(|(_, walks)| *walks == seen.walks)
            .map(|(allocation, _)| *allocation)
            .filter(|found| found.owner == key.owner && found.pool == key.pool)
            .filter(|found| {
                !before.touched.contains(&found.key) && !after.touched.contains(&found.key)
            })
            .collect();
        let kept: Vec<LiveEntry> = before
            .live
            .values()
            .filter(of_row)
            .filter(|entry| after.live.get(&entry.key) == Some(*entry))
            .copied()
            .collect();
        let not_seen: Vec<u64> = kept
            .iter()
            .map(|entry| entry.key)
            .filter(|key| !seen.allocations.contains_key(key))
            .collect();
        let held = if not_seen.is_empty() {
            Vec::new()
        } else {
            self.view
                .holds(self.model, allocator.root, &not_seen)
                .ok()?
        };
        let ghosts: Vec<LiveEntry> = kept
            .into_iter()
            .filter(|entry| not_seen.contains(&entry.key) && !held.contains(&entry.key))
            // It may have been freed just now.
            .filter(|entry| self.is_remembered(entry))
            .collect();
        let unexplained = seen.unexplained.as_ref()?;
        let is_explained = |block: &FoundBlock| {
            block.owner != key.owner || missing.iter().any(|found| found.address == block.address)
        };
        if !unexplained.iter().all(is_explained) {
            return None;
        }
        if !missing.is_empty() {
            missing = self.still_missing(allocator, &missing)?;
        }
        Some(if missing.is_empty() && ghosts.is_empty() {
            Verdict::Held
        } else {
            Verdict::Mend(Box::new(Correction { missing, ghosts }))
        })
    }

    /// Those that are missing when every thread has moved on: one that was stopped in the middle of
    /// an allocation, or of a free, has told of it by then. None where one does not move on.
    fn still_missing(
        &self,
        allocator: &ExaminedAllocator,
        missing: &[FoundAllocation],
    ) -> Option<Vec<FoundAllocation>> {
        let begun = threads::of_process(self.pid);
        for _ in 0..PATIENCE {
            thread::sleep(BREATH);
            if begun.stand_still(&threads::of_process(self.pid)) {
                continue;
            }
            let keys: Vec<u64> = missing.iter().map(|found| found.key).collect();
            let held = self.view.holds(self.model, allocator.root, &keys).ok()?;
            let is_missing = |found: &&FoundAllocation| {
                let key = live_key(self.proc, allocator.space, found.key);
                held.contains(&found.key) && self.readers.live.get(key).is_none()
            };
            return Some(missing.iter().filter(is_missing).copied().collect());
        }
        None
    }

    fn is_remembered(&self, entry: &LiveEntry) -> bool {
        let key = live_key(entry.proc, entry.space, entry.key);
        let now = self.readers.live.get(key);
        now.and_then(|value| LiveEntry::of(&key, &value)).as_ref() == Some(entry)
    }

    /// None where the allocator cannot be read.
    fn walk_until_explained(
        &self,
        allocator: &ExaminedAllocator,
        before: &Remembered,
    ) -> Option<Seen> {
        let started = Instant::now();
        let mut seen = Seen::default();
        let known: HashSet<FoundBlock> = before
            .live
            .values()
            .map(|entry| FoundBlock {
                owner: entry.owner,
                address: entry.address,
            })
            .collect();
        for _ in 0..MOST {
            if started.elapsed() > LONGEST {
                break;
            }
            let Ok(found) = self.view.read(self.model, allocator.root) else {
                continue;
            };
            seen.walks += 1;
            for allocation in &found.allocations {
                let entry = seen
                    .allocations
                    .entry(allocation.key)
                    .or_insert((*allocation, 0));
                if entry.0 == *allocation {
                    entry.1 += 1;
                } else {
                    // Another one, at the same place: its making was seen.
                    *entry = (*allocation, 1);
                }
            }
            let listed: HashSet<FoundBlock> = found.allocations.iter().map(block_of).collect();
            let explained = |block: &FoundBlock| known.contains(block) || listed.contains(block);
            let unexplained: BTreeSet<FoundBlock> = found
                .blocks
                .iter()
                .filter(|block| !explained(block))
                .copied()
                .collect();
            seen.unexplained = Some(match seen.unexplained.take() {
                None => unexplained,
                Some(before) => before.intersection(&unexplained).copied().collect(),
            });
            seen.owners = found.owners;
            let is_explained = seen.unexplained.as_ref().is_some_and(BTreeSet::is_empty);
            if seen.walks >= LEAST && is_explained {
                break;
            }
            thread::sleep(REST);
        }
        (seen.walks >= LEAST).then_some(seen)
    }

    fn remembered(&self, space: u32) -> Option<Remembered> {
        let mut remembered = Remembered {
            live: HashMap::new(),
            touched: HashSet::new(),
        };
        self.readers
            .live
            .read(|key, value| {
                if key.proc == self.proc && key.space == space {
                    remembered.touched.insert(key.key);
                    if let Some(entry) = LiveEntry::of(&key, &value) {
                        remembered.live.insert(key.key, entry);
                    }
                }
            })
            .ok()?;
        Some(remembered)
    }
}

fn block_of(allocation: &FoundAllocation) -> FoundBlock {
    FoundBlock {
        owner: allocation.owner,
        address: allocation.address,
    }
}

impl Sums {
    fn plus(self, mend: &Correction) -> Self {
        let mut sums = self;
        for found in &mend.missing {
            sums.charged += found.charged.cast_signed();
            sums.requested += found.requested.cast_signed();
            sums.live += 1;
        }
        for ghost in &mend.ghosts {
            sums.charged -= ghost.charged.cast_signed();
            sums.requested -= ghost.requested.cast_signed();
            sums.live -= 1;
        }
        sums
    }
}
