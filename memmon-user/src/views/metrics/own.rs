//! What memmon itself costs, under the names that every Prometheus client library uses.

use super::text::{Family, Kind, Writer};

#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    /// Processor time, of all threads.
    pub cpu_seconds: f64,
    /// None where the system does not say.
    pub resident_bytes: Option<u64>,
    /// Seconds since 1970.
    pub started: Option<f64>,
    /// Scrapes that were answered before this one, and how long that took.
    pub scrapes: u64,
    pub scrape_seconds: f64,
}

const CPU: Family = Family::counter(
    "process_cpu_seconds",
    "Processor time that memmon-ebpf has used; what probes add is the observed processes' own.",
);
const RESIDENT: Family = Family::gauge(
    "process_resident_memory_bytes",
    "Memory that memmon-ebpf takes.",
);
const STARTED: Family = Family::gauge(
    "process_start_time_seconds",
    "When memmon-ebpf began to observe, in seconds since 1970.",
);
const SCRAPES: Family = Family {
    name: "memmon_scrape_duration_seconds",
    kind: Kind::Summary,
    help: "Drawing up the answers to the scrapes before this one.",
};

pub fn write(out: &mut Writer, own: &Own) {
    out.single(&CPU, own.cpu_seconds);
    if let Some(bytes) = own.resident_bytes {
        out.single(&RESIDENT, bytes);
    }
    if let Some(started) = own.started {
        out.single(&STARTED, started);
    }
    out.summary(&SCRAPES, own.scrapes, own.scrape_seconds);
}
