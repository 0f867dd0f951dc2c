//! Which processes have rows of their own, and what the rest adds up to.
//!
//! A monitored machine may start thousands of processes, and every label set is a time series that
//! the scraper keeps. So only those that hold most stand for themselves; the rest is one row for
//! each pool of a device.
//!
//! Who is in the rest changes, and a counter must not fall. So each count is counted once, in the
//! row where its process stood when it was scraped, and stays there: the rest keeps what it has of a
//! process that gets a row of its own, whose counters then begin without it. Whatever moves, the sum
//! over all rows is what happened, and so is the sum of their rates. A process that lives between two
//! scrapes leaves a row behind at best, which has no rate: so devices have counters of their own, to
//! which every process adds.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{
    labels::Labels,
    numbers::{Counters, Numbers, sum},
};
use crate::{
    tables::snapshot::{Process, Snapshot, Usage},
    views::health::is_running,
};

/// Samples by their labels.
pub type Rows = BTreeMap<Labels, Numbers>;

/// For how long a pool is remembered of which no process has anything: devices may come and go, too. Where one comes
/// back its counters begin anew, as scrapers know it of whatever was restarted.
const REMEMBERED: Duration = Duration::from_secs(300);

/// A process: its pid may come back.
type Who = (u32, Option<String>);

/// Remembers what was counted where.
#[derive(Debug, Default)]
pub struct Crowd {
    /// How many processes have rows of their own; all where there is no limit.
    limit: Option<usize>,
    tallies: HashMap<Who, HashMap<Labels, Tally>>,
    rest: Counted,
    devices: Counted,
    /// When somebody had a row of that pool.
    seen: HashMap<Labels, Instant>,
}

/// Counts by the labels of a pool. They never fall, whoever comes and goes.
pub type Counted = BTreeMap<Labels, Counters>;

/// What was counted of one pool of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// When it was last looked at.
    seen: Counters,
    /// That much of it stands in the rest.
    in_rest: Counters,
}

/// One snapshot's rows.
#[derive(Debug, Default)]
pub struct Standing {
    pub rows: Rows,
    pub devices: Counted,
    /// Processes that are summed in the rest.
    pub in_rest: usize,
}

impl Crowd {
    pub fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    pub fn stand(&mut self, snapshot: &Snapshot) -> Standing {
        self.stand_at(snapshot, Instant::now())
    }

    pub(super) fn stand_at(&mut self, snapshot: &Snapshot, now: Instant) -> Standing {
        let mut ranked: Vec<(&Process, &[Usage])> = one_of_each_pid(snapshot)
            .into_values()
            .filter_map(|process| Some((process, process.usage.as_deref()?)))
            .filter(|(_, usage)| !usage.is_empty())
            .collect();
        ranked.sort_by_key(|(process, usage)| {
            let charged = usage
                .iter()
                .filter_map(|row| row.charged_bytes)
                .fold(0, u64::saturating_add);
            (!is_running(process), Reverse(charged), process.pid)
        });
        let limit = self.limit.unwrap_or(usize::MAX).min(ranked.len());
        let mut known = std::mem::take(&mut self.tallies);
        let mut rows = Rows::new();
        let mut held: BTreeMap<Labels, Numbers> = BTreeMap::new();
        for (rank, (process, usage)) in ranked.iter().enumerate() {
            let mut tallies = known.remove(&who(process)).unwrap_or_default();
            for (cell, mut numbers) in cells(process, usage) {
                self.seen.insert(cell.clone(), now);
                let tally = tallies.entry(cell.clone()).or_default();
                let news = tally.look(&numbers);
                add(self.devices.entry(cell.clone()).or_default(), &news);
                if rank < limit {
                    numbers.take_away(&tally.in_rest);
                    rows.insert(cell.with_process(process), numbers);
                } else {
                    add(&mut tally.in_rest, &news);
                    add(self.rest.entry(cell.clone()).or_default(), &news);
                    held.entry(cell).or_default().hold(&numbers);
                }
            }
            self.tallies.insert(who(process), tallies);
        }
        self.forget(now);
        for (cell, counted) in &self.rest {
            let mut numbers = held.remove(cell).unwrap_or_default();
            numbers.counters = *counted;
            rows.insert(cell.clone().with_nobody(), numbers);
        }
        Standing {
            rows,
            devices: self.devices.clone(),
            in_rest: ranked.len() - limit,
        }
    }

    fn forget(&mut self, now: Instant) {
        let Self {
            seen,
            rest,
            devices,
            ..
        } = self;
        let before = seen.len();
        seen.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        if seen.len() < before {
            rest.retain(|cell, _| seen.contains_key(cell));
            devices.retain(|cell, _| seen.contains_key(cell));
        }
    }
}

impl Tally {
    /// What is new since the last look. Where a count fell, the process began anew.
    fn look(&mut self, numbers: &Numbers) -> Counters {
        let mut news = Counters::default();
        for (index, now) in numbers.counters.iter().enumerate() {
            if *now < self.seen[index] {
                self.seen[index] = None;
                self.in_rest[index] = None;
            }
            news[index] = now.map(|now| now - self.seen[index].unwrap_or_default());
            self.seen[index] = *now;
        }
        news
    }
}

fn add(to: &mut Counters, news: &Counters) {
    for (to, news) in to.iter_mut().zip(news) {
        sum(to, *news);
    }
}

/// A pid that came back within the minute: the one that runs now, else the latest, is the one that
/// counts. Their labels could not be told apart.
fn one_of_each_pid(snapshot: &Snapshot) -> BTreeMap<u32, &Process> {
    let mut chosen: BTreeMap<u32, &Process> = BTreeMap::new();
    for process in &snapshot.processes {
        let rank = |process: &Process| (is_running(process), process.start_time.clone());
        let now = chosen.entry(process.pid).or_insert(process);
        if rank(now) < rank(process) {
            *now = process;
        }
    }
    chosen
}

fn who(process: &Process) -> Who {
    (process.pid, process.start_time.clone())
}

/// The numbers of a process by the labels of its pools. Rows whose device could not be resolved look
/// alike: they are one.
fn cells(process: &Process, usage: &[Usage]) -> BTreeMap<Labels, Numbers> {
    let mut cells: BTreeMap<Labels, Numbers> = BTreeMap::new();
    for row in usage {
        let labels = Labels::of_pool(
            &row.runtime,
            row.device,
            row.device_uid.as_deref(),
            &row.pool,
        );
        cells
            .entry(labels)
            .or_default()
            .add(&Numbers::of(row, is_running(process)));
    }
    cells
}
