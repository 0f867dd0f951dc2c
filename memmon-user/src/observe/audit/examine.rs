//! Examines a process: its rows before and after a walk through each of its allocators.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use memmon_ebpf::{
    ledger::{RowKey, RowValue},
    spec::reg,
};

use super::{
    ExaminedProcess, Found, Readers, Subject,
    compare::{self, ExaminedRow, Sums, Verdict},
};
use crate::{
    observe::keys::{owner_key, row_key},
    observe::walk::{self, View},
    runtimes::resolver::{FoundOwner, Model, Root},
    tables::{
        facts::{Baseline, Proc},
        live::LiveEntry,
    },
    target::threads,
};

/// How often a process that moves is looked at, and for how long at the most.
const ATTEMPTS: usize = 40;
const LONGEST: Duration = Duration::from_millis(100);
/// How often at least where reading fails.
const AT_LEAST: usize = 6;

/// An allocator, and the rows that stand for its pools.
#[derive(Default)]
pub(in crate::observe) struct ExaminedAllocator {
    pub space: u32,
    /// Which of the subject's uses.
    pub using: usize,
    pub root: Root,
    pub rows: BTreeMap<RowKey, ExaminedRow>,
    /// The latest walk.
    pub found: Option<Found>,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

impl ExaminedAllocator {
    /// Rows that merely move are no suspects: looking closer would leave traces of every free, and
    /// one day the process holds still.
    pub(super) fn is_suspect(&self) -> bool {
        self.rows.values().any(ExaminedRow::is_suspect)
    }

    /// What is not known by now will not be.
    pub(super) fn give_up(&mut self) {
        for row in self.rows.values_mut() {
            if matches!(row.verdict, Verdict::Moving | Verdict::Differs) {
                row.verdict = Verdict::Unsettled;
            }
        }
    }
}

type RowsNow = Vec<(RowKey, Option<RowValue>)>;

pub(super) fn examine(readers: &Readers, subject: Subject) -> ExaminedProcess {
    let threads = threads::of_process(subject.pid);
    let mut allocators = Vec::new();
    let mut problem = None;
    for (using, (library, base)) in subject.uses.iter().enumerate() {
        let Some(model) = &library.model else {
            continue;
        };
        let view = match View::open(subject.pid, *base) {
            Ok(view) => view,
            Err(error) => {
                problem = Some(error);
                continue;
            }
        };
        let mut places = known_roots(readers, subject.proc, library.space);
        if subject.unproven {
            match walk::recover_own(model.as_ref(), subject.pid, *base) {
                Ok(found) => places.extend(found.owners.iter().map(FoundOwner::root)),
                Err(error) => problem = Some(error),
            }
        }
        let context = Context::of(readers, &subject, model.as_ref(), &view);
        for root in places {
            let mut allocator = ExaminedAllocator {
                space: library.space,
                using,
                root,
                ..ExaminedAllocator::default()
            };
            context.examine(&mut allocator);
            allocators.push(allocator);
        }
    }
    ExaminedProcess {
        subject,
        allocators,
        problem,
        threads,
    }
}

/// What is in doubt, a while later: agreed, put right, or not to be told.
pub(super) fn examine_again(readers: &Readers, examined: &mut ExaminedProcess) {
    let mut allocators = std::mem::take(&mut examined.allocators);
    // Read once for all of them where they differ: an allocation or a free may be under way.
    let is_frozen = examined.is_frozen();
    let subject = &examined.subject;
    for allocator in &mut allocators {
        if !(subject.unproven || allocator.is_suspect()) {
            continue;
        }
        let Some((library, base)) = subject.uses.get(allocator.using) else {
            continue;
        };
        let (Some(model), Ok(view)) = (&library.model, View::open(subject.pid, *base)) else {
            continue;
        };
        let context = Context::of(readers, subject, model.as_ref(), &view);
        context.confirm(allocator, subject.unproven, is_frozen);
    }
    examined.allocators = allocators;
}

/// Where events told of allocations.
fn known_roots(readers: &Readers, proc: Proc, space: u32) -> BTreeSet<Root> {
    let mut roots = BTreeSet::new();
    let _ = readers.owners.read(|key, owner| {
        if key.proc == proc && key.space == space && owner.aux != 0 {
            roots.insert(Root {
                aux: owner.aux,
                device: owner.device,
            });
        }
    });
    roots
}

pub(super) struct Context<'a> {
    pub readers: &'a Readers,
    pub proc: Proc,
    pub pid: u32,
    pub baselines: &'a HashMap<RowKey, Baseline>,
    pub model: &'a dyn Model,
    pub view: &'a View,
}

impl<'a> Context<'a> {
    fn of(
        readers: &'a Readers,
        subject: &'a Subject,
        model: &'a dyn Model,
        view: &'a View,
    ) -> Self {
        Self {
            readers,
            proc: subject.proc,
            pid: subject.pid,
            baselines: &subject.baselines,
            model,
            view,
        }
    }

    pub fn key(&self, space: u32, owner: &FoundOwner) -> RowKey {
        let known = self
            .readers
            .owners
            .get(owner_key(self.proc, space, owner.owner));
        let ogen = known.map_or(0, |owner| owner.ogen);
        row_key(self.proc, space, owner.owner, owner.pool, ogen)
    }

    fn rows_now(&self, space: u32, owners: &[FoundOwner]) -> RowsNow {
        owners
            .iter()
            .map(|owner| {
                let key = self.key(space, owner);
                (key, self.readers.rows.get(key))
            })
            .collect()
    }

    /// Until everything agrees, or for as long as it may take. The rows after one walk are those
    /// before the next.
    fn examine(&self, allocator: &mut ExaminedAllocator) {
        let started = Instant::now();
        let mut before: RowsNow = Vec::new();
        let mut walks = 0;
        for attempt in 0..ATTEMPTS {
            // Less than two walks compare nothing, however long one takes.
            let is_enough = walks >= 2 || attempt >= AT_LEAST;
            if is_enough && started.elapsed() > LONGEST {
                break;
            }
            let found = match self.view.read(self.model, allocator.root) {
                Ok(found) => found,
                Err(error) => {
                    allocator.problem = Some(error);
                    continue;
                }
            };
            allocator.problem = None;
            walks += 1;
            let after = self.rows_now(allocator.space, &found.owners);
            let found = Arc::new(found);
            self.judge(allocator, &before, &after, &found);
            allocator.found = Some(found);
            let is_done = !before.is_empty()
                && allocator
                    .rows
                    .values()
                    .all(|row| row.verdict == Verdict::Agreed);
            before = after;
            if is_done {
                break;
            }
        }
        if walks == 1 {
            allocator.problem = Some("it could be read only once".to_owned());
        }
        self.unreadable(allocator);
    }

    fn judge(
        &self,
        allocator: &mut ExaminedAllocator,
        before: &RowsNow,
        after: &RowsNow,
        found: &Found,
    ) {
        allocator
            .rows
            .retain(|key, _| after.iter().any(|(now, _)| now == key));
        for (owner, (key, now)) in found.owners.iter().zip(after) {
            let was = before.iter().find(|(was, _)| was == key);
            let own = found.whole.then(|| Sums::of_owner(owner, found));
            let Some((_, was)) = was else {
                continue;
            };
            let baseline = self.baselines.get(key).copied();
            let Some(new) = ExaminedRow::of(*key, *was, *now, baseline, own) else {
                allocator.rows.remove(key);
                continue;
            };
            // A closed allocator may keep what it does not hold any more: that is its own affair.
            let holds_nothing = new.ledger == Sums::default() && !new.is_uncertain();
            if new.own.is_none() && holds_nothing {
                allocator.rows.remove(key);
                continue;
            }
            let is_settled = |row: &ExaminedRow| row.verdict == Verdict::Agreed;
            let is_worse =
                new.verdict == Verdict::Moving || allocator.rows.get(key).is_some_and(is_settled);
            if !(is_worse && allocator.rows.contains_key(key)) {
                allocator.rows.insert(*key, new);
            }
        }
    }

    /// An allocator that cannot be read is gone, unless the ledger says that it holds something.
    fn unreadable(&self, allocator: &mut ExaminedAllocator) {
        if allocator.problem.is_none() {
            return;
        }
        let mut holds = Vec::new();
        let _ = self.readers.owners.read(|key, owner| {
            if key.proc == self.proc
                && key.space == allocator.space
                && owner.aux == allocator.root.aux
            {
                holds.push((key.owner, owner.ogen));
            }
        });
        let _ = self.readers.rows.read(|key, row| {
            if key.proc != self.proc
                || key.space != allocator.space
                || !holds.contains(&(key.owner, key.ogen))
                || allocator.rows.contains_key(&key)
            {
                return;
            }
            let baseline = self.baselines.get(&key).copied();
            let new = ExaminedRow::of(key, Some(row), Some(row), baseline, None);
            if let Some(new) = new.filter(|new| new.ledger != Sums::default()) {
                allocator.rows.insert(key, new);
            }
        });
        if allocator.rows.is_empty() {
            allocator.problem = None;
        }
    }

    /// The second allocator. `all`: every row, whatever the first one said.
    fn confirm(&self, allocator: &mut ExaminedAllocator, all: bool, is_frozen: bool) {
        let Some(found) = &allocator.found else {
            return;
        };
        let mut owners = found.owners.clone();
        let first_rows = allocator.rows.clone();
        let started = Instant::now();
        let mut open: BTreeSet<RowKey> = allocator
            .rows
            .values()
            .filter(|row| all || row.is_suspect() || row.verdict == Verdict::Moving)
            .map(|row| row.key)
            .collect();
        for _ in 0..ATTEMPTS {
            if open.is_empty() || started.elapsed() > LONGEST {
                break;
            }
            let before = self.rows_now(allocator.space, &owners);
            let Ok(found) = self.view.read(self.model, allocator.root) else {
                continue;
            };
            let Some(live) = self.live_of(allocator.space) else {
                continue;
            };
            let pending = self.pending_owners();
            let after = self.rows_now(allocator.space, &found.owners);
            owners.clone_from(&found.owners);
            if !found.whole {
                continue;
            }
            let found = Arc::new(found);
            for (owner, (key, now)) in found.owners.iter().zip(&after) {
                let Some((_, was)) = before.iter().find(|(was, _)| was == key) else {
                    continue;
                };
                if !open.contains(key) {
                    continue;
                }
                let own = Sums::of_owner(owner, &found);
                let baseline = self.baselines.get(key).copied();
                let Some(new) = ExaminedRow::of(*key, *was, *now, baseline, Some(own)) else {
                    allocator.rows.remove(key);
                    open.remove(key);
                    continue;
                };
                if new.verdict == Verdict::Moving {
                    continue;
                }
                let first = first_rows.get(key);
                // No difference, or the same one as before the pause, and nothing has happened since:
                // whoever was in the middle of something then has come to its end.
                let is_same = first.is_some_and(|first| {
                    first.verdict == Verdict::Differs
                        && first.row == new.row
                        && first.difference() == new.difference()
                });
                let is_under_way = is_frozen || pending.contains(&key.owner);
                if new.verdict != Verdict::Agreed && (!is_same || is_under_way) {
                    continue;
                }
                let remembered = live.get(key).map(Vec::as_slice).unwrap_or_default();
                let mend = compare::correction(compare::own_allocations(owner, &found), remembered);
                let verdict = Verdict::Mend(Box::new(mend));
                allocator.rows.insert(*key, ExaminedRow { verdict, ..new });
                open.remove(key);
            }
            allocator.found = Some(found);
        }
        if all && !open.is_empty() && !is_frozen {
            self.compare_moving(allocator, &mut open);
        }
        for key in open {
            if let Some(row) = allocator.rows.get_mut(&key) {
                row.verdict = Verdict::Unsettled;
            }
        }
    }

    /// None where they could not be read.
    fn live_of(&self, space: u32) -> Option<HashMap<RowKey, Vec<LiveEntry>>> {
        let mut live: HashMap<RowKey, Vec<LiveEntry>> = HashMap::new();
        self.readers
            .live
            .read(|key, value| {
                if key.proc == self.proc
                    && key.space == space
                    && let Some(entry) = LiveEntry::of(&key, &value)
                {
                    live.entry(entry.row_key()).or_default().push(entry);
                }
            })
            .ok()?;
        Some(live)
    }

    /// Owners that a thread is just allocating from.
    fn pending_owners(&self) -> BTreeSet<u64> {
        let mut owners = BTreeSet::new();
        let _ = self.readers.pending.read(|_, pending| {
            if pending.proc == self.proc
                && let Some(owner) = pending.outputs.get(usize::from(reg::OWNER))
            {
                owners.insert(*owner);
            }
        });
        owners
    }
}
