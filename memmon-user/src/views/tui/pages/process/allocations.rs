//! The order of a process's live allocations.

use std::cmp::Ordering;

use crate::{tables::live::LiveAllocation, views::pools};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Address,
    Charged,
    Age,
    Pool,
    Requested,
    Device,
    Thread,
}

impl Column {
    /// The most important ones first: the last are left out where there is little room.
    pub const ALL: [Self; 7] = [
        Self::Address,
        Self::Charged,
        Self::Age,
        Self::Pool,
        Self::Requested,
        Self::Device,
        Self::Thread,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Address => "ADDRESS",
            Self::Pool => "POOL",
            Self::Device => "DEV",
            Self::Requested => "REQUESTED",
            Self::Charged => "CHARGED",
            Self::Age => "AGE",
            Self::Thread => "THREAD",
        }
    }

    fn descends_by_default(self) -> bool {
        matches!(self, Self::Requested | Self::Charged | Self::Age)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub column: Column,
    pub descending: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self::LARGEST
    }
}

impl Order {
    pub const LARGEST: Self = Self {
        column: Column::Charged,
        descending: true,
    };
    pub const OLDEST: Self = Self {
        column: Column::Age,
        descending: true,
    };

    fn by(column: Column) -> Self {
        Self {
            column,
            descending: column.descends_by_default(),
        }
    }

    /// By the column that is so many to the right, and round.
    pub fn next(self, step: isize) -> Self {
        let at = Column::ALL.iter().position(|column| *column == self.column);
        let next =
            (at.unwrap_or(0).cast_signed() + step).rem_euclid(Column::ALL.len().cast_signed());
        Self::by(Column::ALL[next.cast_unsigned()])
    }

    pub fn reversed(self) -> Self {
        Self {
            descending: !self.descending,
            ..self
        }
    }

    /// A click on a column's title sorts by it, another one turns it round.
    pub fn clicked(self, column: Column) -> Self {
        if self.column == column {
            self.reversed()
        } else {
            Self::by(column)
        }
    }

    /// Which allocations to show, in this order.
    pub fn arrange(self, allocations: &[LiveAllocation]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..allocations.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (&allocations[*a], &allocations[*b]);
            let ordering = self.compare(a, b);
            let ordering = if self.descending {
                ordering.reverse()
            } else {
                ordering
            };
            ordering.then_with(|| a.address.cmp(&b.address))
        });
        order
    }

    fn compare(self, a: &LiveAllocation, b: &LiveAllocation) -> Ordering {
        match self.column {
            Column::Address => a.address.cmp(&b.address),
            Column::Pool => pools::order(&a.pool, &b.pool),
            Column::Device => {
                let ids = |one: &LiveAllocation| {
                    one.devices.iter().map(|on| on.device).collect::<Vec<_>>()
                };
                (&a.runtime, ids(a)).cmp(&(&b.runtime, ids(b)))
            }
            Column::Requested => a.requested_bytes.cmp(&b.requested_bytes),
            Column::Charged => {
                let size = |one: &LiveAllocation| (one.charged_bytes, one.requested_bytes);
                size(a).cmp(&size(b))
            }
            // What was there before anybody looked is older than anything that was seen.
            Column::Age => {
                let age = |one: &LiveAllocation| one.age_ns.unwrap_or(u64::MAX);
                age(a).cmp(&age(b))
            }
            Column::Thread => a.tid.cmp(&b.tid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(address: u64, charged: u64, age_ns: Option<u64>) -> LiveAllocation {
        LiveAllocation {
            address,
            charged_bytes: Some(charged),
            age_ns,
            ..LiveAllocation::default()
        }
    }

    #[test]
    fn the_largest_and_the_oldest() {
        let all = [
            one(3, 10, Some(5)),
            one(1, 30, None),
            one(2, 10, Some(900)),
            one(0, 20, Some(1)),
        ];
        assert_eq!(Order::LARGEST.arrange(&all), [1, 3, 2, 0]);
        assert_eq!(Order::OLDEST.arrange(&all), [1, 2, 0, 3]);
        assert_eq!(Order::OLDEST.reversed().arrange(&all), [3, 0, 2, 1]);
        assert_eq!(Order::by(Column::Address).arrange(&all), [3, 1, 2, 0]);
    }

    #[test]
    fn columns_go_round() {
        let mut order = Order::LARGEST;
        for _ in 0..Column::ALL.len() {
            order = order.next(1);
        }
        assert_eq!(order, Order::LARGEST);
        assert_eq!(Order::by(Column::Address).next(-1).column, Column::Thread);
        assert_eq!(order.clicked(Column::Charged), Order::LARGEST.reversed());
        assert_eq!(order.clicked(Column::Age), Order::OLDEST);
    }
}
