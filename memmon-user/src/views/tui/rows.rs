//! A snapshot → the rows of the process table: one per (process, device), its pools side by side, in the chosen order.

use std::cmp::Ordering;

use crate::tables::snapshot::{Process, Snapshot, Usage};
use crate::views::health::is_running;
use crate::views::pools::{self, CIRCULAR_BUFFERS};

/// A column of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Pid,
    User,
    Command,
    Device,
    Pool(String),
    Live,
    Allocations,
    Peak,
    Failed,
    Since,
    State,
}

impl Column {
    pub fn title(&self) -> &str {
        match self {
            Self::Pid => "PID",
            Self::User => "USER",
            Self::Command => "COMMAND",
            Self::Device => "DEV",
            Self::Pool(pool) => pool,
            Self::Live => "LIVE",
            Self::Allocations => "ALLOCS",
            Self::Peak => "PEAK",
            Self::Failed => "FAILED",
            Self::Since => "SINCE",
            Self::State => "STATE",
        }
    }

    /// Text and names read best from A, amounts from the largest.
    pub fn descends_by_default(&self) -> bool {
        matches!(
            self,
            Self::Pool(_) | Self::Live | Self::Allocations | Self::Peak | Self::Failed
        )
    }

    /// All of them, for the pools there are.
    pub fn all(pools: &[String]) -> Vec<Self> {
        let mut columns = vec![Self::Pid, Self::User, Self::Command, Self::Device];
        columns.extend(pools.iter().cloned().map(Self::Pool));
        columns.extend([
            Self::Live,
            Self::Allocations,
            Self::Peak,
            Self::Failed,
            Self::Since,
            Self::State,
        ]);
        columns
    }
}

/// A number of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Known(u64),
    Unknown,
    /// Nothing was ever there.
    Absent,
}

impl Amount {
    fn of(number: Option<u64>) -> Self {
        number.map_or(Self::Unknown, Self::Known)
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absent, it) | (it, Self::Absent) => it,
            (Self::Known(a), Self::Known(b)) => Self::Known(a.saturating_add(b)),
            _ => Self::Unknown,
        }
    }

    /// For sorting: the absent is nothing, the unknown has no place.
    fn rank(self) -> Option<u64> {
        match self {
            Self::Known(number) => Some(number),
            Self::Absent => Some(0),
            Self::Unknown => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub amount: Amount,
    pub exact: bool,
}

/// Process and device of a row; strings are looked up in the snapshot when the row is drawn.
#[derive(Clone, Debug)]
pub struct Row {
    pub process: usize,
    /// Which usage of the process names the device; none where there is no usage.
    pub place: Option<usize>,
    /// One for each pool, in their order.
    pub pools: Vec<Cell>,
    pub live: Amount,
    pub allocations: Amount,
    pub failed: Amount,
    /// The device's own memory, or else the pool it holds most of.
    pub main: Amount,
    /// The peak of that pool.
    pub peak: Amount,
    pub exact: bool,
    pub exited: bool,
}

/// What makes a row the same row in the next snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pid: u32,
    start_time: Option<String>,
    place: Option<(String, Option<i64>, Option<String>)>,
}

impl Row {
    pub fn key(&self, snapshot: &Snapshot) -> Key {
        let process = &snapshot.processes[self.process];
        let place = usage_of(process, self.place);
        Key {
            pid: process.pid,
            start_time: process.start_time.clone(),
            place: place.map(|u| (u.runtime.clone(), u.device, u.device_uid.clone())),
        }
    }

    pub fn is(&self, key: &Key, snapshot: &Snapshot) -> bool {
        let process = &snapshot.processes[self.process];
        process.pid == key.pid && self.key(snapshot) == *key
    }

    pub fn usage<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Usage> {
        usage_of(&snapshot.processes[self.process], self.place)
    }
}

fn usage_of(process: &Process, at: Option<usize>) -> Option<&Usage> {
    process.usage.as_ref()?.get(at?)
}

fn same_place(a: &Usage, b: &Usage) -> bool {
    a.runtime == b.runtime && a.device == b.device && a.device_uid == b.device_uid
}

/// The pools that processes hold something in, in the common order.
pub fn pools_of(snapshot: &Snapshot) -> Vec<String> {
    let mut found: Vec<&str> = Vec::new();
    for usage in snapshot
        .processes
        .iter()
        .flat_map(|p| p.usage.iter().flatten())
    {
        if !found.contains(&usage.pool.as_str()) {
            found.push(&usage.pool);
        }
    }
    found.sort_by(|a, b| pools::order(a, b));
    found.into_iter().map(String::from).collect()
}

/// Unsorted.
pub fn rows_of(snapshot: &Snapshot, pools: &[String]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, process) in snapshot.processes.iter().enumerate() {
        let usage = process.usage.as_deref().unwrap_or_default();
        if usage.is_empty() {
            let all = if process.usage.is_none() {
                Amount::Unknown
            } else {
                Amount::Absent
            };
            rows.push(empty_row(at, process, pools, all));
        }
        let begin = rows.len();
        for (nth, one) in usage.iter().enumerate() {
            let known = rows[begin..].iter_mut().find(|r: &&mut Row| {
                r.place
                    .and_then(|p| usage.get(p))
                    .is_some_and(|other| same_place(one, other))
            });
            let row = match known {
                Some(row) => row,
                None => {
                    rows.push(Row {
                        place: Some(nth),
                        ..empty_row(at, process, pools, Amount::Absent)
                    });
                    let last = rows.len() - 1;
                    &mut rows[last]
                }
            };
            add(row, one, pools);
        }
        for row in &mut rows[begin..] {
            set_main(row, usage);
        }
    }
    rows
}

fn empty_row(at: usize, process: &Process, pools: &[String], all: Amount) -> Row {
    Row {
        process: at,
        place: None,
        pools: vec![
            Cell {
                amount: all,
                exact: true
            };
            pools.len()
        ],
        live: all,
        allocations: all,
        failed: all,
        main: all,
        peak: all,
        exact: true,
        exited: !is_running(process),
    }
}

fn add(row: &mut Row, usage: &Usage, pools: &[String]) {
    let circular = usage.pool == CIRCULAR_BUFFERS;
    if let Some(cell) = pools
        .iter()
        .position(|p| *p == usage.pool)
        .map(|p| &mut row.pools[p])
    {
        // Circular buffers are never charged; what was registered is what there is to say.
        let bytes = if circular {
            usage.charged_bytes.or(usage.requested_bytes)
        } else {
            usage.charged_bytes
        };
        cell.amount = cell.amount.plus(Amount::of(bytes));
        cell.exact &= usage.exact;
    }
    if !circular {
        row.live = row.live.plus(Amount::of(usage.live_allocations));
        row.allocations = row.allocations.plus(Amount::of(usage.allocations));
    }
    row.failed = row.failed.plus(Amount::of(usage.failed_allocations));
    row.exact &= usage.exact;
}

fn set_main(row: &mut Row, usage: &[Usage]) {
    let Some(place) = row.place.and_then(|p| usage.get(p)) else {
        return;
    };
    let here = || {
        usage
            .iter()
            .filter(|u| same_place(u, place) && u.pool != CIRCULAR_BUFFERS)
    };
    let main = here()
        .find(|u| pools::is_main(&u.pool))
        .or_else(|| here().max_by_key(|u| u.charged_bytes));
    if let Some(main) = main {
        row.main = Amount::of(main.charged_bytes);
        row.peak = Amount::of(main.peak_charged_bytes);
    }
}

/// Running before exited, known before unknown, then the column, then who holds most.
pub fn sort(
    rows: &mut [Row],
    snapshot: &Snapshot,
    pools: &[String],
    column: &Column,
    descending: bool,
) {
    let pool_at = |name: &String| pools.iter().position(|p| p == name);
    let number = |row: &Row| match column {
        // Different runtimes call a device's own memory differently: they are one order.
        Column::Pool(pool) if pools::is_main(pool) => row.main,
        Column::Pool(pool) => pool_at(pool).map_or(Amount::Absent, |at| row.pools[at].amount),
        Column::Live => row.live,
        Column::Allocations => row.allocations,
        Column::Peak => row.peak,
        Column::Failed => row.failed,
        _ => Amount::Absent,
    };
    let process = |row: &Row| &snapshot.processes[row.process];
    let directed = |order: Ordering| if descending { order.reverse() } else { order };
    rows.sort_by(|a, b| {
        let (pa, pb) = (process(a), process(b));
        let chosen = match column {
            Column::Pid => directed(pa.pid.cmp(&pb.pid)),
            Column::User => directed((&pa.user, pa.uid).cmp(&(&pb.user, pb.uid))),
            Column::Command => directed((&pa.command, &pa.comm).cmp(&(&pb.command, &pb.comm))),
            Column::Device => directed(device(a, snapshot).cmp(&device(b, snapshot))),
            Column::Since => directed(pa.since.cmp(&pb.since)),
            Column::State => directed(pa.state.cmp(&pb.state)),
            _ => match (number(a).rank(), number(b).rank()) {
                (Some(a), Some(b)) => directed(a.cmp(&b)),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
        };
        a.exited
            .cmp(&b.exited)
            .then(chosen)
            .then_with(|| b.main.rank().cmp(&a.main.rank()))
            .then_with(|| pa.pid.cmp(&pb.pid))
            .then_with(|| device(a, snapshot).cmp(&device(b, snapshot)))
    });
}

fn device<'a>(
    row: &Row,
    snapshot: &'a Snapshot,
) -> Option<(&'a str, Option<i64>, Option<&'a str>)> {
    row.usage(snapshot)
        .map(|u| (u.runtime.as_str(), u.device, u.device_uid.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    fn sorted(snapshot: &Snapshot, column: &Column, descending: bool) -> Vec<(u32, Option<i64>)> {
        let pools = pools_of(snapshot);
        let mut rows = rows_of(snapshot, &pools);
        sort(&mut rows, snapshot, &pools, column, descending);
        rows.iter()
            .map(|r| {
                (
                    snapshot.processes[r.process].pid,
                    r.usage(snapshot).and_then(|u| u.device),
                )
            })
            .collect()
    }

    #[test]
    fn who_holds_most_is_first_what_is_unknown_and_what_ended_is_last() {
        let order = sorted(&sample::busy(), &Column::Pool("DRAM".into()), true);
        let expected = [
            (4011, Some(0)),
            (512, Some(0)),
            (4011, Some(1)),
            (9000, None),
            (77, None),
            (3999, Some(1)),
        ];
        assert_eq!(order, expected);
        let ascending = sorted(&sample::busy(), &Column::Pool("DRAM".into()), false);
        assert_eq!(ascending[4..], expected[4..], "in either direction");
        assert_eq!(ascending[0], (9000, None));
    }

    #[test]
    fn every_column_sorts_and_none_loses_a_row() {
        let snapshot = sample::troubled();
        let pools = pools_of(&snapshot);
        assert_eq!(pools, ["DRAM", "L1", "TRACE", "CB"]);
        let count = rows_of(&snapshot, &pools).len();
        for column in Column::all(&pools) {
            for descending in [false, true] {
                assert_eq!(sorted(&snapshot, &column, descending).len(), count);
            }
        }
    }

    #[test]
    fn unknown_never_becomes_a_number() {
        let mut snapshot = sample::busy();
        let usage = snapshot.processes[0].usage.as_mut().unwrap();
        usage[0].charged_bytes = None;
        usage[1].live_allocations = None;
        let pools = pools_of(&snapshot);
        let rows = rows_of(&snapshot, &pools);
        assert_eq!(rows[0].pools[0].amount, Amount::Unknown);
        assert_eq!(rows[0].main, Amount::Unknown);
        assert_eq!(
            rows[0].live,
            Amount::Unknown,
            "part of the sum is not known"
        );
        assert_eq!(
            rows[0].pools[3].amount,
            Amount::Known(3 * sample::MIB),
            "CB as registered"
        );
    }
}
