//! The numbers of a row, and the families that they are samples of.

use super::crowd::{Counted, Rows};
use super::text::{Family, Writer};
use crate::tables::snapshot::Usage;

/// As [`COUNTED`] names them; none where only a look was taken.
pub type Counters = [Option<u64>; 3];

/// One row's numbers. What is not known has no sample: absent is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// As [`HELD`] names them. A process that ended holds nothing.
    held: [Option<u64>; 3],
    peak: Option<u64>,
    pub counters: Counters,
}

const HELD: [Family; 3] = [
    Family::gauge(
        "memmon_charged_bytes",
        "What the allocator took from the pool for this process.",
    ),
    Family::gauge(
        "memmon_requested_bytes",
        "What the process asked for and still holds.",
    ),
    Family::gauge(
        "memmon_live_allocations",
        "Allocations that were not freed yet.",
    ),
];

const PEAK: Family = Family::gauge(
    "memmon_peak_charged_bytes",
    "The most that was charged to this process at one time.",
);

const COUNTED: [Family; 3] = [
    Family::counter("memmon_allocations", "Allocations that succeeded."),
    Family::counter("memmon_frees", "Allocations that were freed."),
    Family::counter(
        "memmon_failed_allocations",
        "Allocations that failed, out of memory above all.",
    ),
];

/// The same, over all processes of a device, those that ended included.
const COUNTED_BY_DEVICE: [Family; 3] = [
    Family::counter(
        "memmon_device_allocations",
        "Allocations that succeeded, of every process seen.",
    ),
    Family::counter(
        "memmon_device_frees",
        "Allocations that were freed, of every process seen.",
    ),
    Family::counter(
        "memmon_device_failed_allocations",
        "Allocations that failed, of every process seen.",
    ),
];

impl Numbers {
    /// Peak and counters hold for a process that ended, too: for the last scrape to see.
    pub fn of(usage: &Usage, running: bool) -> Self {
        let held = [
            usage.charged_bytes,
            usage.requested_bytes,
            usage.live_allocations,
        ];
        Self {
            held: if running { held } else { [None; 3] },
            peak: usage.peak_charged_bytes,
            counters: [usage.allocations, usage.frees, usage.failed_allocations],
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.hold(other);
        sum(&mut self.peak, other.peak);
        for (mine, theirs) in self.counters.iter_mut().zip(other.counters) {
            sum(mine, theirs);
        }
    }

    /// Adds what is held only: peaks of different moments do not add up.
    pub fn hold(&mut self, other: &Self) {
        for (mine, theirs) in self.held.iter_mut().zip(other.held) {
            sum(mine, theirs);
        }
    }

    /// Counts that stand elsewhere.
    pub fn take_away(&mut self, counted: &Counters) {
        for (mine, theirs) in self.counters.iter_mut().zip(counted) {
            *mine = mine.map(|count| count.saturating_sub(theirs.unwrap_or_default()));
        }
    }
}

pub fn sum(to: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *to = Some(to.unwrap_or_default().saturating_add(more));
    }
}

pub fn write(out: &mut Writer, rows: &Rows) {
    // Names and numbers beside the labels: growing bit by bit would copy megabytes.
    let line = rows
        .keys()
        .map(|labels| labels.text().len() + 48)
        .sum::<usize>();
    out.reserve(line * (HELD.len() + 1 + COUNTED.len()));
    for (index, family) in HELD.iter().enumerate() {
        write_one(out, family, rows, |numbers| numbers.held[index]);
    }
    write_one(out, &PEAK, rows, |numbers| numbers.peak);
    for (index, family) in COUNTED.iter().enumerate() {
        write_one(out, family, rows, |numbers| numbers.counters[index]);
    }
}

pub fn write_devices(out: &mut Writer, devices: &Counted) {
    for (index, family) in COUNTED_BY_DEVICE.iter().enumerate() {
        out.head(family);
        for (labels, counted) in devices {
            if let Some(value) = counted[index] {
                out.sample(family, labels.text(), value);
            }
        }
    }
}

fn write_one(
    out: &mut Writer,
    family: &Family,
    rows: &Rows,
    number: impl Fn(&Numbers) -> Option<u64>,
) {
    out.head(family);
    for (labels, numbers) in rows {
        if let Some(value) = number(numbers) {
            out.sample(family, labels.text(), value);
        }
    }
}
