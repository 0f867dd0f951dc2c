//! The order of the rows: running before exited, known before unknown, then the chosen column, then who holds most.

use std::cmp::Ordering;

use super::{
    amount::Amount,
    column::Column,
    rows::{Row, Rows},
};
use crate::tables::snapshot::{Process, Snapshot};
use crate::views::pools;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub column: Column,
    pub descending: bool,
}

/// What rows are compared by, taken out of them once.
struct Rank<'a> {
    row: usize,
    exited: bool,
    amount: Amount,
    text: (&'a str, &'a [String], i64),
    main: Amount,
    pid: u32,
    device: (&'a str, Option<i64>, Option<&'a str>),
}

/// The rows that are let through, in order.
pub fn sorted(
    rows: &Rows,
    snapshot: &Snapshot,
    order: &Order,
    mut takes: impl FnMut(&Row) -> bool,
) -> Vec<usize> {
    let pool = match &order.column {
        Column::Pool(name) => rows.pools.iter().position(|pool| pool == name),
        _ => None,
    };
    let mut ranks: Vec<Rank<'_>> = rows
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| takes(row))
        .map(|(at, row)| rank(at, row, rows, snapshot, &order.column, pool))
        .collect();
    ranks.sort_unstable_by(|a, b| a.order(b, order));
    ranks.into_iter().map(|rank| rank.row).collect()
}

/// What a row, or a group, is sorted by where the column is an amount.
pub fn amount(column: &Column, sums: &super::amount::Sums, pool: Amount) -> Amount {
    match column {
        // Different runtimes call a device's own memory differently: they are one order.
        Column::Pool(name) if pools::is_main(name) => sums.main,
        Column::Pool(_) => pool,
        Column::Live => sums.live,
        Column::Allocations => sums.allocations,
        Column::Rate => sums.rate,
        Column::Peak => sums.peak,
        Column::Failed => sums.failed,
        _ => Amount::Absent,
    }
}

fn rank<'a>(
    at: usize,
    row: &Row,
    rows: &Rows,
    snapshot: &'a Snapshot,
    column: &Column,
    pool: Option<usize>,
) -> Rank<'a> {
    let process = row.process(snapshot);
    let usage = row.usage(snapshot);
    let in_pool = pool.map_or(Amount::Absent, |pool| rows.cells(row)[pool].amount);
    Rank {
        row: at,
        exited: row.sums.exited,
        amount: amount(column, &row.sums, in_pool),
        text: text(column, process),
        main: row.sums.main,
        pid: process.pid,
        device: usage.map_or(("", None, None), |usage| {
            let uid = usage.device_uid.as_deref();
            (usage.runtime.as_str(), usage.device, uid)
        }),
    }
}

fn text<'a>(column: &Column, process: &'a Process) -> (&'a str, &'a [String], i64) {
    match column {
        Column::Pid => ("", &[], i64::from(process.pid)),
        Column::User => match &process.user {
            Some(user) => (user, &[], 0),
            None => ("", &[], process.uid.map_or(-1, i64::from)),
        },
        Column::Command if process.command.is_empty() => (&process.comm, &[], 0),
        Column::Command => ("", &process.command, 0),
        Column::Age => (process.start_time.as_deref().unwrap_or(""), &[], 0),
        Column::Since => (&process.since, &[], 0),
        Column::State => (&process.state, &[], 0),
        _ => ("", &[], 0),
    }
}

impl Rank<'_> {
    fn order(&self, other: &Self, by: &Order) -> Ordering {
        let directed = |order: Ordering, down: bool| if down { order.reverse() } else { order };
        // The oldest started first.
        let text_descends = by.descending != (by.column == Column::Age);
        let device = || self.device.cmp(&other.device);
        let by_device = || match by.column {
            Column::Device => directed(device(), by.descending),
            _ => Ordering::Equal,
        };
        self.exited
            .cmp(&other.exited)
            .then_with(|| self.amount.order(other.amount, by.descending))
            .then_with(|| directed(self.text.cmp(&other.text), text_descends))
            .then_with(by_device)
            .then_with(|| other.main.rank().cmp(&self.main.rank()))
            .then_with(|| self.pid.cmp(&other.pid))
            .then_with(device)
            .then_with(|| self.row.cmp(&other.row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;
    use crate::views::tui::history::History;

    fn in_order(snapshot: &Snapshot, column: Column, descending: bool) -> Vec<(u32, Option<i64>)> {
        let rows = Rows::of(snapshot, &History::default());
        let order = Order { column, descending };
        let sorted = sorted(&rows, snapshot, &order, |_| true);
        let named = sorted.into_iter().map(|at| {
            let row = &rows.rows[at];
            (
                row.process(snapshot).pid,
                row.usage(snapshot).and_then(|u| u.device),
            )
        });
        named.collect()
    }

    #[test]
    fn who_holds_most_is_first_what_is_unknown_and_what_ended_is_last() {
        let order = in_order(&sample::busy(), Column::Pool("DRAM".into()), true);
        let expected = [
            (4011, Some(0)),
            (512, Some(0)),
            (4011, Some(1)),
            (9000, None),
            (77, None),
            (3999, Some(1)),
        ];
        assert_eq!(order, expected);
        let ascending = in_order(&sample::busy(), Column::Pool("DRAM".into()), false);
        assert_eq!(ascending[4..], expected[4..], "in either direction");
        assert_eq!(ascending[0], (9000, None));
    }

    #[test]
    fn every_column_sorts_and_none_loses_a_row() {
        let snapshot = sample::troubled();
        let rows = Rows::of(&snapshot, &History::default());
        for column in Column::all(&rows.pools) {
            for descending in [false, true] {
                let order = in_order(&snapshot, column.clone(), descending);
                assert_eq!(order.len(), rows.rows.len(), "{column:?}");
            }
        }
    }

    #[test]
    fn text_and_age() {
        let mut snapshot = sample::busy();
        snapshot.processes[1].start_time = Some("2025-12-31T00:00:00Z".into());
        assert_eq!(
            in_order(&snapshot, Column::Age, true)[0].0,
            512,
            "the oldest"
        );
        assert_eq!(
            in_order(&snapshot, Column::Command, false)[0].0,
            77,
            "/srv/…"
        );
        assert_eq!(in_order(&snapshot, Column::User, true)[0].0, 77, "root");
        assert_eq!(in_order(&snapshot, Column::Pid, false)[0].0, 77);
        assert_eq!(
            in_order(&snapshot, Column::Device, true)[0],
            (4011, Some(1))
        );
    }
}
