//! One row against its pool. Nothing is read here.

use std::collections::HashMap;

use memmon_ebpf::ledger::{RowKey, RowValue};

use crate::{
    runtimes::resolver::{FoundAllocation, FoundOwner, Recovered},
    tables::{facts::Baseline, live::LiveEntry},
};

/// What a pool of an owner holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub charged: i64,
    pub requested: i64,
    pub live: i64,
}

/// What is thought of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It held still, and both say the same.
    Agreed,
    /// It never held still, but every allocation of it is known, and is there.
    Held,
    /// It held still, and they differ: to be confirmed.
    Differs,
    /// It never held still so far.
    #[default]
    Moving,
    /// It could not be told.
    Unsettled,
    /// What is to be done about it.
    Mend(Box<Correction>),
}

/// One row, and what was seen of its pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExaminedRow {
    pub key: RowKey,
    pub row: RowValue,
    pub baseline: Baseline,
    pub ledger: Sums,
    /// None where the pool was never seen whole.
    pub own: Option<Sums>,
    pub verdict: Verdict,
}

/// What makes a row right again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    /// Live, and not remembered.
    pub missing: Vec<FoundAllocation>,
    /// Remembered, and not live.
    pub ghosts: Vec<LiveEntry>,
}

impl Sums {
    pub fn of_row(row: &RowValue, baseline: &Baseline) -> Self {
        Self {
            charged: row.charged + baseline.charged,
            requested: row.requested + baseline.requested,
            live: row.live + baseline.live,
        }
    }

    /// What the pool says of itself, and what its allocations asked for.
    pub fn of_owner(owner: &FoundOwner, found: &Recovered) -> Self {
        let mut sums = Self {
            charged: owner.charged.cast_signed(),
            ..Self::default()
        };
        for allocation in own_allocations(owner, found) {
            sums.requested = sums.requested.saturating_add_unsigned(allocation.requested);
            sums.live += 1;
        }
        sums
    }

    pub fn less(self, other: Self) -> Self {
        Self {
            charged: self.charged - other.charged,
            requested: self.requested - other.requested,
            live: self.live - other.live,
        }
    }
}

pub fn own_allocations<'a>(
    owner: &'a FoundOwner,
    found: &'a Recovered,
) -> impl Iterator<Item = &'a FoundAllocation> {
    found
        .allocations
        .iter()
        .filter(|allocation| allocation.owner == owner.owner && allocation.pool == owner.pool)
}

impl ExaminedRow {
    /// By what was true before and after the walk, which is whole. None where there is nothing to
    /// compare.
    pub fn of(
        key: RowKey,
        before: Option<RowValue>,
        after: Option<RowValue>,
        baseline: Option<Baseline>,
        own: Option<Sums>,
    ) -> Option<Self> {
        let is_known = after.is_some() || baseline.is_some();
        if !is_known && own.is_none_or(|own| own == Sums::default()) {
            return None;
        }
        let row = after.unwrap_or_default();
        let baseline = baseline.unwrap_or_default();
        let ledger = Sums::of_row(&row, &baseline);
        let verdict = match own {
            _ if before != after => Verdict::Moving,
            None => Verdict::Moving,
            Some(own) if own == ledger => Verdict::Agreed,
            Some(_) => Verdict::Differs,
        };
        Some(Self {
            key,
            row,
            baseline,
            ledger,
            own,
            verdict,
        })
    }

    /// The pool's own numbers less the ledger's.
    pub fn difference(&self) -> Option<Sums> {
        self.own.map(|own| own.less(self.ledger))
    }

    /// Whether it is known that it may be wrong.
    pub fn is_uncertain(&self) -> bool {
        self.row.inexact + self.baseline.doubts > self.baseline.forgiven
    }

    pub fn is_suspect(&self) -> bool {
        self.verdict == Verdict::Differs || self.is_uncertain()
    }
}

/// What is to be done where the ledger remembers `live` and the pool holds `own`.
pub fn correction<'a>(
    own: impl Iterator<Item = &'a FoundAllocation>,
    live: &[LiveEntry],
) -> Correction {
    let mut ghosts: HashMap<u64, &LiveEntry> =
        live.iter().map(|entry| (entry.key, entry)).collect();
    let mut missing = Vec::new();
    for allocation in own {
        let is_same = |entry: &&LiveEntry| {
            entry.requested == allocation.requested && entry.charged == allocation.charged
        };
        if ghosts.get(&allocation.key).is_some_and(is_same) {
            ghosts.remove(&allocation.key);
        } else {
            missing.push(*allocation);
        }
    }
    let mut ghosts: Vec<LiveEntry> = ghosts.into_values().copied().collect();
    ghosts.sort_by_key(LiveEntry::id);
    Correction { missing, ghosts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sequence: u64, charged: i64) -> Option<RowValue> {
        Some(RowValue {
            charged,
            requested: charged,
            live: 1,
            sequence,
            ..RowValue::default()
        })
    }

    fn sums(charged: i64) -> Option<Sums> {
        Some(Sums {
            charged,
            requested: charged,
            live: 1,
        })
    }

    fn verdict(
        before: Option<RowValue>,
        after: Option<RowValue>,
        own: Option<Sums>,
    ) -> Option<Verdict> {
        ExaminedRow::of(RowKey::default(), before, after, None, own).map(|row| row.verdict)
    }

    #[test]
    fn only_what_held_still_is_judged() {
        assert_eq!(
            verdict(row(5, 64), row(5, 64), sums(64)),
            Some(Verdict::Agreed)
        );
        assert_eq!(
            verdict(row(5, 64), row(5, 64), sums(96)),
            Some(Verdict::Differs)
        );
        // Equal by chance, or not: it moved meanwhile.
        assert_eq!(
            verdict(row(5, 64), row(6, 64), sums(64)),
            Some(Verdict::Moving)
        );
        assert_eq!(
            verdict(row(5, 64), row(6, 96), sums(64)),
            Some(Verdict::Moving)
        );
        assert_eq!(verdict(None, row(1, 64), sums(64)), Some(Verdict::Moving));
        // Never seen whole.
        assert_eq!(verdict(row(5, 64), row(5, 64), None), Some(Verdict::Moving));
    }

    #[test]
    fn what_nobody_knows_is_no_row_and_what_only_the_pool_knows_is() {
        assert_eq!(verdict(None, None, Some(Sums::default())), None);
        assert_eq!(verdict(None, None, sums(64)), Some(Verdict::Differs));
    }

    #[test]
    fn what_the_tables_add_counts() {
        let baseline = Baseline {
            charged: 36,
            requested: 36,
            live: 0,
            ..Baseline::default()
        };
        let examined = ExaminedRow::of(
            RowKey::default(),
            row(5, 64),
            row(5, 64),
            Some(baseline),
            sums(100),
        );
        assert_eq!(examined.map(|row| row.verdict), Some(Verdict::Agreed));
    }

    #[test]
    fn doubts_are_looked_into_until_they_are_forgiven() {
        let doubtful = RowValue {
            inexact: 3,
            ..row(5, 64).unwrap_or_default()
        };
        let is_suspect = |forgiven| {
            let baseline = Baseline {
                forgiven,
                ..Baseline::default()
            };
            ExaminedRow::of(
                RowKey::default(),
                Some(doubtful),
                Some(doubtful),
                Some(baseline),
                sums(64),
            )
            .is_some_and(|row| row.is_suspect())
        };
        assert!(is_suspect(0) && is_suspect(2));
        assert!(!is_suspect(3));
    }

    #[test]
    fn missing_and_ghosts() {
        let allocation = |key: u64, charged: u64| FoundAllocation {
            key,
            charged,
            requested: charged,
            ..FoundAllocation::default()
        };
        let entry = |key: u64, charged: u64| LiveEntry {
            key,
            charged,
            requested: charged,
            ..LiveEntry::default()
        };
        let own = [allocation(1, 10), allocation(2, 20), allocation(4, 40)];
        // 1 is known, 2 is another by now, 3 is gone, 4 was missed.
        let live = [entry(1, 10), entry(2, 21), entry(3, 30)];
        let Correction { missing, ghosts } = correction(own.iter(), &live);
        assert_eq!(missing, [allocation(2, 20), allocation(4, 40)]);
        assert_eq!(ghosts, [entry(2, 21), entry(3, 30)]);
        assert_eq!(
            correction(own.iter(), &own.map(|a| entry(a.key, a.charged))),
            Correction::default()
        );
    }
}
