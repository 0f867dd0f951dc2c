//! A snapshot → the rows of the process table: one per (process, device), its pools side by side.

use super::amount::{Amount, Cell, Sums};
use crate::tables::snapshot::{Process, Snapshot, Usage};
use crate::views::health::is_running;
use crate::views::pools;
use crate::views::tui::history::{History, RowPast};

/// Process and device of a row; strings are looked up in the snapshot when the row is drawn.
#[derive(Clone, Debug)]
pub struct Row {
    pub process: usize,
    /// Which usage of the process names the device; none where there is no usage.
    pub place: Option<usize>,
    /// Where its cells begin.
    cells: usize,
    pub sums: Sums,
}

/// All rows, unsorted.
#[derive(Debug, Default)]
pub struct Rows {
    /// The pools that processes hold something in, in the common order.
    pub pools: Vec<String>,
    pub rows: Vec<Row>,
    /// One for each row and pool.
    cells: Vec<Cell>,
}

/// What makes a row the same row in the next snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pid: u32,
    start_time: Option<String>,
    place: Option<(String, Option<i64>, Option<String>)>,
}

impl Row {
    pub fn process<'a>(&self, snapshot: &'a Snapshot) -> &'a Process {
        &snapshot.processes[self.process]
    }

    pub fn usage<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Usage> {
        self.process(snapshot).usage.as_ref()?.get(self.place?)
    }

    /// Everything that the process holds on the device of this row.
    pub fn usages<'a>(&self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Usage> {
        let place = self.usage(snapshot);
        let usages = self.process(snapshot).usage.iter().flatten();
        usages.filter(move |usage| place.is_some_and(|place| same_place(usage, place)))
    }

    pub fn key(&self, snapshot: &Snapshot) -> Key {
        let process = self.process(snapshot);
        let place = self.usage(snapshot);
        Key {
            pid: process.pid,
            start_time: process.start_time.clone(),
            place: place.map(|u| (u.runtime.clone(), u.device, u.device_uid.clone())),
        }
    }

    pub fn is(&self, key: &Key, snapshot: &Snapshot) -> bool {
        self.process(snapshot).pid == key.pid && self.key(snapshot) == *key
    }
}

pub fn same_place(a: &Usage, b: &Usage) -> bool {
    a.device == b.device && a.device_uid == b.device_uid && a.runtime == b.runtime
}

impl Rows {
    pub fn of(snapshot: &Snapshot, history: &History) -> Self {
        let (pools, mut places) = pools_of(snapshot);
        let mut rows = Self {
            pools,
            ..Self::default()
        };
        for (at, process) in snapshot.processes.iter().enumerate() {
            rows.take(at, process, history, &mut places);
        }
        rows
    }

    pub fn cells(&self, row: &Row) -> &[Cell] {
        &self.cells[row.cells..row.cells + self.pools.len()]
    }

    /// `pools` says where the pool of each usage stands.
    fn take(
        &mut self,
        at: usize,
        process: &Process,
        history: &History,
        pools: &mut impl Iterator<Item = usize>,
    ) {
        let usage = process.usage.as_deref().unwrap_or_default();
        if usage.is_empty() {
            let all = if process.usage.is_none() {
                Amount::Unknown
            } else {
                Amount::Absent
            };
            self.push(at, process, None, all);
        }
        let begin = self.rows.len();
        let rows = usage.iter().zip(history.rows_of(process)).zip(pools);
        for (nth, ((one, past), pool)) in rows.enumerate() {
            let known = (begin..self.rows.len()).find(|&row| {
                let place = self.rows[row].place.and_then(|place| usage.get(place));
                place.is_some_and(|place| same_place(one, place))
            });
            let row = known.unwrap_or_else(|| self.push(at, process, Some(nth), Amount::Absent));
            self.add(row, one, pool, past);
        }
        for row in &mut self.rows[begin..] {
            set_main(row, usage);
        }
    }

    fn push(&mut self, at: usize, process: &Process, place: Option<usize>, all: Amount) -> usize {
        let cells = self.cells.len();
        let cell = Cell {
            amount: all,
            exact: true,
        };
        self.cells.resize(cells + self.pools.len(), cell);
        self.rows.push(Row {
            process: at,
            place,
            cells,
            sums: Sums {
                exited: !is_running(process),
                ..Sums::all(all)
            },
        });
        self.rows.len() - 1
    }

    fn add(&mut self, row: usize, usage: &Usage, pool: usize, past: Option<&RowPast>) {
        let row = &mut self.rows[row];
        // Of what is never charged, what was asked for is all there is to say.
        let bytes = if usage.uncharged {
            usage.requested_bytes
        } else {
            usage.charged_bytes
        };
        let cell = &mut self.cells[row.cells + pool];
        *cell = cell.plus(Cell {
            amount: Amount::of(bytes),
            exact: usage.exact,
        });
        let sums = &mut row.sums;
        if !usage.uncharged {
            sums.live = sums.live.plus(Amount::of(usage.live_allocations));
            sums.allocations = sums.allocations.plus(Amount::of(usage.allocations));
            let rate = past.and_then(|past| past.rate).map(in_thousand_seconds);
            sums.rate = sums.rate.plus(Amount::of(rate));
        }
        sums.failed = sums.failed.plus(Amount::of(usage.failed_allocations));
        sums.exact &= usage.exact;
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and `as` saturates"
)]
fn in_thousand_seconds(rate: f64) -> u64 {
    (rate * 1000.0).round() as u64
}

fn set_main(row: &mut Row, usage: &[Usage]) {
    let Some(place) = row.place.and_then(|place| usage.get(place)) else {
        return;
    };
    let here = || {
        usage
            .iter()
            .filter(|u| same_place(u, place) && !u.uncharged)
    };
    let main = here()
        .find(|u| pools::is_main(&u.pool))
        .or_else(|| here().max_by_key(|u| u.charged_bytes));
    if let Some(main) = main {
        row.sums.main = Amount::of(main.charged_bytes);
        row.sums.peak = Amount::of(main.peak_charged_bytes);
    }
}

/// The pools there are, and for each usage, which of them it is. Texts lie all over the memory: each is looked at once.
fn pools_of(snapshot: &Snapshot) -> (Vec<String>, impl Iterator<Item = usize>) {
    let mut found: Vec<&str> = Vec::new();
    let usages = snapshot
        .processes
        .iter()
        .flat_map(|p| p.usage.iter().flatten());
    let places: Vec<usize> = usages
        .map(|usage| {
            let known = found.iter().position(|pool| *pool == usage.pool);
            known.unwrap_or_else(|| {
                found.push(&usage.pool);
                found.len() - 1
            })
        })
        .collect();
    let mut pools = found.clone();
    pools.sort_by(|a, b| pools::order(a, b));
    let moved: Vec<usize> = found
        .iter()
        .map(|pool| pools.iter().position(|other| other == pool).unwrap_or(0))
        .collect();
    let pools = pools.into_iter().map(String::from).collect();
    (pools, places.into_iter().map(move |place| moved[place]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn unknown_never_becomes_a_number() {
        let mut snapshot = sample::busy();
        let usage = snapshot.processes[0].usage.as_mut().unwrap();
        usage[0].charged_bytes = None;
        usage[1].live_allocations = None;
        let rows = Rows::of(&snapshot, &History::default());
        assert_eq!(rows.pools, ["DRAM", "L1", "TRACE", "CB"]);
        let first = &rows.rows[0];
        assert_eq!(rows.cells(first)[0].amount, Amount::Unknown);
        assert_eq!(first.sums.main, Amount::Unknown);
        assert_eq!(
            first.sums.live,
            Amount::Unknown,
            "part of the sum is not known"
        );
        assert_eq!(first.sums.rate, Amount::Unknown, "it was seen once only");
        assert_eq!(
            rows.cells(first)[3].amount,
            Amount::Known(3 * sample::MIB),
            "CB as registered"
        );
    }

    #[test]
    fn rates_are_summed_over_the_pools_of_a_device() {
        let mut snapshot = sample::busy();
        let mut history = History::default();
        history.take(&snapshot);
        snapshot.taken_at = "2026-01-31T12:00:04.123456789Z".into();
        for (usage, more) in snapshot.processes[0]
            .usage
            .as_mut()
            .unwrap()
            .iter_mut()
            .zip([8, 2])
        {
            usage.allocations = usage.allocations.map(|allocations| allocations + more);
        }
        history.take(&snapshot);
        let rows = Rows::of(&snapshot, &history);
        assert_eq!(rows.rows[0].sums.rate, Amount::Known(2500));
        assert_eq!(rows.rows[1].sums.rate, Amount::Known(0));
    }
}
