//! Processes that allocate so often that probes cost them something, and what to do about it.
//!
//! Probes are placed in a library file, for every process that maps it: they cannot be taken away
//! for one process alone. So this is said, and not done.

use std::{collections::HashMap, time::Instant};

use memmon_ebpf::ledger::Counter;

use super::observer::Observer;
use crate::tables::facts::Proc;

/// Allocations and frees a second, of one process, from which it is told.
const MANY: f64 = 20_000.0;
/// Of a processor, for an allocation or a free: three hits a pair, of about a microsecond each
/// (`cargo xtask bench`).
const SECONDS_AN_EVENT: f64 = 1.5e-6;

/// What had happened at one moment.
#[derive(Default)]
pub(super) struct Rates {
    at: Option<Instant>,
    events: u64,
    /// By process, while it is many.
    counts: HashMap<Proc, u64>,
    pub notes: Vec<String>,
}

impl Observer {
    /// Once in a while; costs nothing where little happens.
    pub(super) fn note_rates(&mut self) {
        let counters = self.kernel.counters();
        let events = counters.get(Counter::Events);
        let now = Instant::now();
        let before = std::mem::take(&mut self.rates);
        let seconds = before
            .at
            .map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        let many = |count: u64| seconds > 0.0 && count as f64 / seconds >= MANY;
        let new = events.saturating_sub(before.events);
        let mut counts = HashMap::new();
        let mut notes = Vec::new();
        if many(new) || !before.counts.is_empty() {
            for (key, row) in self.kernel.rows.all() {
                *counts.entry(key.proc).or_default() += row.allocations + row.frees + row.failed;
            }
            for (proc, count) in &counts {
                let Some(last) = before.counts.get(proc) else {
                    continue;
                };
                let count: u64 = *count;
                let count = count.saturating_sub(*last);
                if !many(count) {
                    continue;
                }
                let Some(facts) = self.tables.facts_of(*proc) else {
                    continue;
                };
                let rate = count as f64 / seconds;
                notes.push(format!(
                    "pid {} ({}) allocates and frees {:.0} thousand times a second: probes cost it about {:.0}% of a processor; `--sample` observes without",
                    facts.pid,
                    facts.comm,
                    rate / 1e3,
                    100.0 * rate * SECONDS_AN_EVENT,
                ));
            }
            if !many(new) {
                counts.clear();
            }
        }
        notes.sort_unstable();
        self.rates = Rates {
            at: Some(now),
            events,
            counts,
            notes,
        };
    }
}
