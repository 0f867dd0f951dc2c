//! What the view remembers of the snapshots it saw: what was charged over the last minutes, and how fast
//! allocations are made.
//!
//! Its memory is bounded: where very many amounts change all the time, they are remembered less finely.

mod series;

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

pub use self::series::{Series, Tick};
use super::moment;
use crate::tables::snapshot::{Device, Process, Snapshot, Usage};

const TICK_MS: u64 = 500;
/// How long the past is: a quarter of an hour.
const REACH_TICKS: Tick = 1800;
/// Between snapshots that are further apart than this, nothing is known.
const GAP_TICKS: Tick = 60;
/// A rate is taken over this time at the least.
const RATE_MS: u64 = 950;
/// Each takes twelve bytes.
const MOST_POINTS: usize = 4 << 20;

#[derive(Debug)]
pub struct History {
    /// The moment of tick 0.
    start_ms: u64,
    now: Tick,
    devices: Vec<DevicePast>,
    processes: HashMap<u32, ProcessPast>,
    /// The moments that are told apart, in ticks.
    spacing: Tick,
    points: usize,
    most_points: usize,
}

#[derive(Debug)]
struct DevicePast {
    runtime: String,
    device: Option<i64>,
    uid: Option<String>,
    pools: Vec<(String, Series)>,
}

#[derive(Debug)]
struct ProcessPast {
    start_time: Option<String>,
    seen: Tick,
    gone: bool,
    rows: Vec<RowPast>,
    /// The rows stood in the order of the usage, the last time.
    in_order: bool,
}

/// What is remembered of what a process holds of a pool of a device.
#[derive(Debug)]
pub struct RowPast {
    pub runtime: String,
    pub device: Option<i64>,
    pub device_uid: Option<String>,
    pub pool: String,
    pub charged: Series,
    /// Allocations per second; none until it is known.
    pub rate: Option<f64>,
    counted: Option<(u64, u64)>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            start_ms: 0,
            now: 0,
            devices: Vec::new(),
            processes: HashMap::new(),
            spacing: 1,
            points: 0,
            most_points: MOST_POINTS,
        }
    }
}

impl History {
    /// Remembers a snapshot. One that is older than the last takes time back to that moment.
    pub fn take(&mut self, snapshot: &Snapshot) {
        let Some(now_ms) = moment::millis(&snapshot.taken_at) else {
            return;
        };
        self.go_to(now_ms);
        for device in &snapshot.devices {
            self.take_device(device);
        }
        for process in &snapshot.processes {
            self.take_process(process, now_ms);
        }
        self.take_leave();
        while self.points > self.most_points {
            self.thin();
        }
    }

    /// What was charged to a pool of a device.
    pub fn pool(&self, device: &Device, pool: &str) -> Option<&Series> {
        let past = self.devices.iter().find(|past| past.is(device))?;
        let (_, series) = past.pools.iter().find(|(name, _)| name == pool)?;
        Some(series)
    }

    /// What a process held, and how fast it allocates, in one row of its usage.
    pub fn row(&self, process: &Process, usage: &Usage) -> Option<&RowPast> {
        self.rows(process).iter().find(|row| row.is(usage))
    }

    /// What is remembered of each row of a process's usage; for all rows at once, because looking for one means
    /// comparing texts.
    pub fn rows_of<'a>(
        &'a self,
        process: &'a Process,
    ) -> impl Iterator<Item = Option<&'a RowPast>> {
        let usage = process.usage.as_deref().unwrap_or_default();
        let count = usage.len();
        let past = self.processes.get(&process.pid);
        let past = past.filter(|past| past.start_time == process.start_time);
        usage
            .iter()
            .enumerate()
            .map(move |(nth, usage)| match past {
                Some(past) if past.in_order && past.rows.len() == count => past.rows.get(nth),
                Some(past) => past.rows.iter().find(|row| row.is(usage)),
                None => None,
            })
    }

    /// All that is remembered of a process.
    pub fn rows(&self, process: &Process) -> &[RowPast] {
        match self.processes.get(&process.pid) {
            Some(past) if past.start_time == process.start_time => &past.rows,
            _ => &[],
        }
    }

    /// So many equal spans that end now, the oldest first: the most in each of them; none where nothing
    /// is known. A span is half a second at the least.
    pub fn spans(&self, series: &Series, span: Duration, count: usize) -> Vec<Option<u64>> {
        let ticks = u64::try_from(span.as_millis()).unwrap_or(u64::MAX) / TICK_MS;
        let ticks = Tick::try_from(ticks).unwrap_or(REACH_TICKS).max(1);
        // Spans begin at multiples of their length: so a drawn line moves, and does not flicker.
        let end = u64::from((self.now / ticks + 1) * ticks);
        let count = u64::try_from(count).unwrap_or(0);
        (0..count)
            .map(|nth| {
                let from = end.checked_sub((count - nth) * u64::from(ticks))?;
                let from = Tick::try_from(from).ok()?;
                series.most(from..(from + ticks).min(self.now + 1))
            })
            .collect()
    }

    /// Moves the present to this moment.
    fn go_to(&mut self, now_ms: u64) {
        let reach_ms = u64::from(REACH_TICKS) * TICK_MS;
        let is_first = self.devices.is_empty() && self.processes.is_empty();
        let ticks = now_ms.checked_sub(self.start_ms).map(|ms| ms / TICK_MS);
        let tick = ticks.and_then(|ticks| Tick::try_from(ticks).ok());
        let Some(tick) = tick.filter(|_| !is_first) else {
            let most_points = self.most_points;
            *self = Self {
                // Whatever is seen later may go back this far.
                start_ms: now_ms.saturating_sub(reach_ms),
                most_points,
                ..Self::default()
            };
            self.now = Tick::try_from((now_ms - self.start_ms) / TICK_MS).unwrap_or(REACH_TICKS);
            return;
        };
        if tick < self.now {
            self.each_series(|series| series.forget_after(tick));
            self.processes.retain(|_, past| !past.rows.is_empty());
            for row in self.processes.values_mut().flat_map(|past| &mut past.rows) {
                (row.rate, row.counted) = (None, None);
            }
            for past in self.processes.values_mut() {
                past.seen = past.seen.min(tick);
            }
        } else if tick > self.now + GAP_TICKS {
            let gap = self.now + 1;
            self.each_series(|series| series.put(gap, None));
        }
        self.now = tick;
    }

    fn each_series(&mut self, mut what: impl FnMut(&mut Series)) {
        let mut points = 0;
        let devices = self.devices.iter_mut().flat_map(|past| &mut past.pools);
        let rows = self.processes.values_mut().flat_map(|past| &mut past.rows);
        for series in devices
            .map(|(_, series)| series)
            .chain(rows.map(|row| &mut row.charged))
        {
            what(series);
            points += series.len();
        }
        self.points = points;
    }

    fn take_device(&mut self, device: &Device) {
        let at = match self.devices.iter().position(|past| past.is(device)) {
            Some(at) => at,
            None => {
                self.devices.push(DevicePast::of(device));
                self.devices.len() - 1
            }
        };
        let past = &mut self.devices[at];
        for pool in &device.pools {
            let at = match past.pools.iter().position(|(name, _)| *name == pool.pool) {
                Some(at) => at,
                None => {
                    past.pools.push((pool.pool.clone(), Series::default()));
                    past.pools.len() - 1
                }
            };
            let series = &mut past.pools[at].1;
            let before = series.len();
            series.put(self.now, pool.charged_bytes);
            series.forget_before(self.now.saturating_sub(REACH_TICKS));
            self.points = self.points + series.len() - before.min(self.points);
        }
    }

    fn take_process(&mut self, process: &Process, now_ms: u64) {
        let past = match self.processes.entry(process.pid) {
            Entry::Occupied(mut known) => {
                if known.get().start_time != process.start_time {
                    // The same number, another process.
                    let old = known.insert(ProcessPast::of(process));
                    let points: usize = old.rows.iter().map(|row| row.charged.len()).sum();
                    self.points = self.points.saturating_sub(points);
                }
                known.into_mut()
            }
            Entry::Vacant(new) => new.insert(ProcessPast::of(process)),
        };
        (past.seen, past.gone) = (self.now, false);
        past.in_order = true;
        let tick = self.now / self.spacing * self.spacing;
        for (nth, usage) in process.usage.iter().flatten().enumerate() {
            // Rows keep their order, nearly always.
            let at = match past.rows.get(nth) {
                Some(row) if row.is(usage) => nth,
                _ => match past.rows.iter().position(|row| row.is(usage)) {
                    Some(at) => at,
                    None => {
                        past.rows.push(RowPast::of(usage));
                        past.rows.len() - 1
                    }
                },
            };
            past.in_order &= at == nth;
            let row = &mut past.rows[at];
            let before = row.charged.len();
            row.charged.put(tick, usage.charged_bytes);
            row.charged
                .forget_before(self.now.saturating_sub(REACH_TICKS));
            self.points = self.points + row.charged.len() - before.min(self.points);
            row.count(usage.allocations, now_ms);
        }
    }

    /// Of processes that are no longer spoken of, nothing is known from here on; later, they are forgotten.
    fn take_leave(&mut self) {
        let (now, points) = (self.now, &mut self.points);
        self.processes.retain(|_, past| {
            if past.seen == now {
                return true;
            }
            if !past.gone {
                past.gone = true;
                for row in &mut past.rows {
                    row.charged.put(now, None);
                    row.rate = None;
                    *points += 1;
                }
            }
            let keep = now.saturating_sub(past.seen) < REACH_TICKS;
            if !keep {
                let freed: usize = past.rows.iter().map(|row| row.charged.len()).sum();
                *points = points.saturating_sub(freed);
            }
            keep
        });
    }

    fn thin(&mut self) {
        self.spacing *= 2;
        let spacing = self.spacing;
        self.each_series(|series| series.thin(spacing));
        if spacing > REACH_TICKS {
            self.most_points = usize::MAX;
        }
    }
}

impl DevicePast {
    fn of(device: &Device) -> Self {
        Self {
            runtime: device.runtime.clone(),
            device: device.device,
            uid: device.device_uid.clone(),
            pools: Vec::new(),
        }
    }

    fn is(&self, device: &Device) -> bool {
        self.device == device.device
            && self.uid == device.device_uid
            && self.runtime == device.runtime
    }
}

impl ProcessPast {
    fn of(process: &Process) -> Self {
        Self {
            start_time: process.start_time.clone(),
            seen: 0,
            gone: false,
            rows: Vec::new(),
            in_order: true,
        }
    }
}

impl RowPast {
    fn of(usage: &Usage) -> Self {
        Self {
            runtime: usage.runtime.clone(),
            device: usage.device,
            device_uid: usage.device_uid.clone(),
            pool: usage.pool.clone(),
            charged: Series::default(),
            rate: None,
            counted: None,
        }
    }

    pub fn is(&self, usage: &Usage) -> bool {
        self.device == usage.device
            && self.pool == usage.pool
            && self.device_uid == usage.device_uid
            && self.runtime == usage.runtime
    }

    fn count(&mut self, allocations: Option<u64>, now_ms: u64) {
        match (self.counted, allocations) {
            (Some((then_ms, then)), Some(now)) => {
                let elapsed = now_ms.saturating_sub(then_ms);
                if elapsed < RATE_MS {
                    return;
                }
                let made = now.saturating_sub(then);
                #[allow(clippy::cast_precision_loss, reason = "it is shown with three digits")]
                let rate = made as f64 * 1000.0 / elapsed as f64;
                self.rate = Some(rate);
                self.counted = Some((now_ms, now));
            }
            (_, now) => {
                self.rate = None;
                self.counted = now.map(|now| (now_ms, now));
            }
        }
    }
}

#[cfg(test)]
mod tests;
