//! One amount over time: the moments at which it changed.

use std::{collections::VecDeque, ops::Range};

/// Half a second each, counted from the beginning of the history.
pub type Tick = u32;

/// What stands for "not known".
const UNKNOWN: u64 = u64::MAX;

/// Within a tick the largest amount counts: a peak is never lost, however coarse the ticks are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    ticks: VecDeque<Tick>,
    amounts: VecDeque<u64>,
}

impl Series {
    pub fn len(&self) -> usize {
        self.ticks.len()
    }

    /// The amount from this tick on. No tick may be before the last one.
    pub fn put(&mut self, tick: Tick, amount: Option<u64>) {
        let amount = amount.map_or(UNKNOWN, |amount| amount.min(UNKNOWN - 1));
        match (self.ticks.back(), self.amounts.back_mut()) {
            (Some(_), Some(last)) if *last == amount => {}
            (Some(at), Some(last)) if *at == tick => {
                *last = match (*last, amount) {
                    (known, UNKNOWN) | (UNKNOWN, known) => known,
                    (a, b) => a.max(b),
                };
            }
            _ => {
                self.ticks.push_back(tick);
                self.amounts.push_back(amount);
            }
        }
    }

    /// The most that it was during these ticks; none where that is not known at all.
    pub fn most(&self, ticks: Range<Tick>) -> Option<u64> {
        let from = self.ticks.partition_point(|at| *at <= ticks.start);
        let to = self.ticks.partition_point(|at| *at < ticks.end);
        self.amounts
            .range(from.saturating_sub(1)..to.max(from.saturating_sub(1)))
            .filter(|amount| **amount != UNKNOWN)
            .max()
            .copied()
    }

    /// Forgets what was before this tick.
    pub fn forget_before(&mut self, tick: Tick) {
        while self.ticks.get(1).is_some_and(|second| *second <= tick) {
            self.ticks.pop_front();
            self.amounts.pop_front();
        }
    }

    /// Forgets what is after this tick: time went back.
    pub fn forget_after(&mut self, tick: Tick) {
        let keep = self.ticks.partition_point(|at| *at <= tick);
        self.ticks.truncate(keep);
        self.amounts.truncate(keep);
    }

    /// Leaves one moment in so many ticks.
    pub fn thin(&mut self, spacing: Tick) {
        let mut thinned = Self::default();
        for (tick, amount) in self.ticks.iter().zip(&self.amounts) {
            let amount = (*amount != UNKNOWN).then_some(*amount);
            thinned.put(tick / spacing * spacing, amount);
        }
        *self = thinned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(Tick, Option<u64>)]) -> Series {
        let mut series = Series::default();
        for (tick, amount) in points {
            series.put(*tick, *amount);
        }
        series
    }

    #[test]
    fn only_changes_take_room_and_peaks_stay() {
        let mut one = series(&[(0, Some(5)), (1, Some(5)), (2, Some(9)), (2, Some(4))]);
        one.put(3, Some(4));
        assert_eq!(one.len(), 3);
        assert_eq!(one.most(0..1), Some(5));
        assert_eq!(one.most(1..2), Some(5), "it did not change");
        assert_eq!(one.most(2..3), Some(9), "the peak of that tick");
        assert_eq!(one.most(3..9), Some(4));
        assert_eq!(one.most(0..9), Some(9));
    }

    #[test]
    fn the_unknown_is_no_amount() {
        let one = series(&[(2, Some(5)), (4, None), (6, Some(1))]);
        assert_eq!(one.most(0..2), None, "before it was seen");
        assert_eq!(one.most(4..6), None);
        assert_eq!(one.most(3..7), Some(5));
        assert_eq!(one.most(6..7), Some(1));
        assert_eq!(Series::default().most(0..7), None);
    }

    #[test]
    fn forgetting_leaves_what_is_in_between() {
        let mut one = series(&[(0, Some(1)), (4, Some(2)), (8, Some(3)), (12, Some(4))]);
        one.forget_before(6);
        assert_eq!(one.most(6..7), Some(2), "what it was at that time stays");
        one.forget_after(9);
        assert_eq!(one.most(12..20), Some(3));
        assert_eq!(one.len(), 2);
    }

    #[test]
    fn thinning_keeps_the_peaks() {
        let mut one = Series::default();
        for tick in 0..1000 {
            one.put(tick, Some(u64::from(tick % 7)));
        }
        one.thin(10);
        assert!(one.len() <= 100);
        assert_eq!(one.most(0..1000), Some(6));
    }
}
