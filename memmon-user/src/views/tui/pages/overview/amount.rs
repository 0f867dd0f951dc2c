//! A number of a row, and what is not one.

use std::cmp::Ordering;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Amount {
    Known(u64),
    Unknown,
    /// Nothing was ever there.
    #[default]
    Absent,
}

impl Amount {
    pub fn of(number: Option<u64>) -> Self {
        number.map_or(Self::Unknown, Self::Known)
    }

    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absent, it) | (it, Self::Absent) => it,
            (Self::Known(a), Self::Known(b)) => Self::Known(a.saturating_add(b)),
            _ => Self::Unknown,
        }
    }

    /// For sorting: the absent is nothing, the unknown has no place.
    pub fn rank(self) -> Option<u64> {
        match self {
            Self::Known(number) => Some(number),
            Self::Absent => Some(0),
            Self::Unknown => None,
        }
    }

    /// The unknown comes last in either direction.
    pub fn order(self, other: Self, descending: bool) -> Ordering {
        match (self.rank(), other.rank()) {
            (Some(a), Some(b)) if descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub amount: Amount,
    pub exact: bool,
}

impl Cell {
    pub const ABSENT: Self = Self {
        amount: Amount::Absent,
        exact: true,
    };

    pub fn plus(self, other: Self) -> Self {
        Self {
            amount: self.amount.plus(other.amount),
            exact: self.exact && other.exact,
        }
    }
}

/// What a row, or all rows of a group, come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    pub live: Amount,
    pub allocations: Amount,
    /// Allocations in a thousand seconds.
    pub rate: Amount,
    pub failed: Amount,
    /// The device's own memory, or else the pool it holds most of.
    pub main: Amount,
    /// The peak of that pool; of several rows: no less than that.
    pub peak: Amount,
    pub exact: bool,
    pub exited: bool,
}

impl Sums {
    /// All numbers alike.
    pub fn all(amount: Amount) -> Self {
        Self {
            live: amount,
            allocations: amount,
            rate: amount,
            failed: amount,
            main: amount,
            peak: amount,
            exact: true,
            exited: false,
        }
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            live: self.live.plus(other.live),
            allocations: self.allocations.plus(other.allocations),
            rate: self.rate.plus(other.rate),
            failed: self.failed.plus(other.failed),
            main: self.main.plus(other.main),
            peak: self.peak.plus(other.peak),
            exact: self.exact && other.exact,
            exited: self.exited && other.exited,
        }
    }
}
