//! How many live allocations there are of which size. A leak is a size of which there are ever more.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use crate::tables::live::LiveList;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    pub runtime: String,
    pub pool: String,
    /// What each of them asked for.
    pub size: u64,
    pub count: u64,
    /// How many more than at the beginning.
    pub growth: i64,
    pub requested: u64,
    /// None where the pool is not charged.
    pub charged: Option<u64>,
    /// None where one of them was there before anybody looked.
    pub oldest_ns: Option<u64>,
    pub newest_ns: Option<u64>,
}

/// A runtime, a pool of it, and a size.
type Key = (String, String, u64);

impl Class {
    fn key(&self) -> Key {
        (self.runtime.clone(), self.pool.clone(), self.size)
    }
}

/// Remembers how many there were.
#[derive(Clone, Debug, Default)]
pub struct Grouping {
    before: Option<HashMap<Key, u64>>,
}

impl Grouping {
    /// Those that take most first.
    pub fn classes(&mut self, list: &LiveList) -> Vec<Class> {
        // In an order of their own, where as much is charged.
        let mut classes = BTreeMap::<(&str, &str, u64), Class>::new();
        for one in &list.allocations {
            let class = classes
                .entry((&one.runtime, &one.pool, one.requested_bytes))
                .or_insert_with(|| Class {
                    runtime: one.runtime.clone(),
                    pool: one.pool.clone(),
                    size: one.requested_bytes,
                    charged: one.charged_bytes.map(|_| 0),
                    oldest_ns: one.age_ns,
                    newest_ns: one.age_ns,
                    ..Class::default()
                });
            class.count += 1;
            class.requested = class.requested.saturating_add(one.requested_bytes);
            class.charged = class
                .charged
                .zip(one.charged_bytes)
                .map(|(sum, bytes): (u64, u64)| sum.saturating_add(bytes));
            class.oldest_ns = class.oldest_ns.zip(one.age_ns).map(|(a, b)| a.max(b));
            class.newest_ns = match (class.newest_ns, one.age_ns) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let mut classes: Vec<Class> = classes.into_values().collect();
        let before = self.before.get_or_insert_with(|| {
            let counts = classes.iter();
            counts.map(|class| (class.key(), class.count)).collect()
        });
        for class in &mut classes {
            let then = before.get(&class.key()).copied().unwrap_or(0);
            class.growth = class.count.cast_signed() - then.cast_signed();
        }
        classes.sort_by_key(|class| (Reverse(class.charged), Reverse(class.requested), class.size));
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::live::LiveAllocation;

    fn list(sizes: &[(&str, u64, Option<u64>)]) -> LiveList {
        let allocations = sizes.iter().map(|(pool, size, age_ns)| LiveAllocation {
            pool: (*pool).into(),
            requested_bytes: *size,
            charged_bytes: (*pool != "CB").then_some(size + 1),
            age_ns: *age_ns,
            ..LiveAllocation::default()
        });
        LiveList {
            allocations: allocations.collect(),
            ..LiveList::default()
        }
    }

    #[test]
    fn a_leak_is_seen() {
        let mut grouping = Grouping::default();
        let first = list(&[
            ("DRAM", 100, Some(9)),
            ("DRAM", 5, None),
            ("DRAM", 5, Some(3)),
            ("CB", 5, Some(1)),
        ]);
        let classes = grouping.classes(&first);
        let seen: Vec<_> = classes
            .iter()
            .map(|c| {
                (
                    c.size,
                    c.count,
                    c.growth,
                    c.charged,
                    c.oldest_ns,
                    c.newest_ns,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (100, 1, 0, Some(101), Some(9), Some(9)),
                (5, 2, 0, Some(12), None, Some(3)),
                (5, 1, 0, None, Some(1), Some(1)),
            ]
        );
        let later = list(&[("DRAM", 5, Some(4)); 50]);
        let classes = grouping.classes(&later);
        assert_eq!((classes[0].count, classes[0].growth), (50, 48));
        assert_eq!(classes[0].charged, Some(300));
        let classes = grouping.classes(&list(&[("DRAM", 7, Some(4))]));
        assert_eq!(classes[0].growth, 1);
    }
}
