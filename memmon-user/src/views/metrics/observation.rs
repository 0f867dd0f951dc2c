//! What the observation says of devices, and of itself: whether the numbers can be trusted.

use std::{collections::BTreeMap, time::Duration};

use super::{
    labels::Labels,
    text::{Family, Kind, Writer, label},
};
use crate::{
    tables::snapshot::{Library, Pool, Snapshot},
    views::health::{is_running, not_understood},
};

type OfPool = fn(&Pool) -> Option<u64>;

const POOLS: [(Family, OfPool); 5] = [
    (
        Family::gauge("memmon_capacity_bytes", "What the pool can hold."),
        |pool| pool.capacity_bytes,
    ),
    (
        Family::gauge(
            "memmon_device_charged_bytes",
            "What is taken from the pool, over all processes observed.",
        ),
        |pool| pool.charged_bytes,
    ),
    (
        Family::gauge(
            "memmon_device_peak_charged_bytes",
            "The most that was taken from the pool at one time.",
        ),
        |pool| pool.peak_charged_bytes,
    ),
    (
        Family::gauge(
            "memmon_device_banks",
            "Banks that the pool is dealt out over.",
        ),
        |pool| pool.banks,
    ),
    (
        Family::gauge(
            "memmon_device_largest_free_bank_bytes",
            "The largest free block in each bank: an allocation takes the same range in every bank.",
        ),
        |pool| pool.largest_free_bytes_per_bank,
    ),
];

pub fn write_devices(out: &mut Writer, snapshot: &Snapshot) {
    let pools: Vec<(Labels, &Pool)> = snapshot
        .devices
        .iter()
        .flat_map(|device| device.pools.iter().map(move |pool| (device, pool)))
        .map(|(device, pool)| {
            let uid = device.device_uid.as_deref();
            let labels = Labels::of_pool(&device.runtime, device.device, uid, &pool.pool);
            (labels, pool)
        })
        .collect();
    for (family, number) in &POOLS {
        out.head(family);
        for (labels, pool) in &pools {
            if let Some(value) = number(pool) {
                out.sample(family, labels.text(), value);
            }
        }
    }
}

const BUILD: Family = Family {
    name: "memmon_build",
    kind: Kind::Info,
    help: "The program that observes.",
};
const LIBRARIES: Family = Family::gauge(
    "memmon_libraries",
    "Runtime libraries found; of those not understood no number is known.",
);
const OBSERVED: Family = Family::gauge(
    "memmon_observed_processes",
    "Running processes that map a known runtime library.",
);

const AUDIT_TOOK: Family = Family::gauge(
    "memmon_audit_duration_seconds",
    "Processor and waiting time of the latest audit, beside the observer.",
);

pub fn write_health(out: &mut Writer, snapshot: &Snapshot, in_rest: usize) {
    let health = &snapshot.health;
    for (name, help, value) in [
        (
            "memmon_events",
            "Allocations, frees and failures that were seen.",
            health.events,
        ),
        (
            "memmon_lost_events",
            "Events whose history was lost; totals are not affected.",
            health.lost_events,
        ),
        (
            "memmon_failed_reads",
            "Reads of a target's memory that failed.",
            health.failed_reads,
        ),
        (
            "memmon_unknown_frees",
            "Frees of what was not known to be allocated.",
            health.unknown_frees,
        ),
        (
            "memmon_inherited_frees",
            "Frees, in a forked child, of what its parent allocated; harmless.",
            health.inherited_frees,
        ),
    ] {
        out.single(&Family::counter(name, help), value);
    }
    let running = snapshot.processes.iter().filter(|p| is_running(p)).count();
    out.single(&OBSERVED, running);
    for (name, help, value) in [
        (
            "memmon_inexact_rows",
            "Rows whose numbers are not known to be true.",
            health.inexact_rows,
        ),
        (
            "memmon_unknown_processes",
            "Running processes whose use is not known: library not understood.",
            not_understood(snapshot) as u64,
        ),
        (
            "memmon_other_processes",
            "Processes without rows of their own: they are summed in those called other.",
            in_rest as u64,
        ),
    ] {
        out.single(&Family::gauge(name, help), value);
    }
    write_audit(out, snapshot);
    out.head(&LIBRARIES);
    for (labels, count) in libraries(&snapshot.libraries) {
        out.sample(&LIBRARIES, &labels, count);
    }
    out.head(&BUILD);
    let mut version = String::new();
    label(&mut version, "version", &snapshot.observer.version);
    out.sample(&BUILD, &version, 1);
}

/// Nothing where there was no audit yet.
fn write_audit(out: &mut Writer, snapshot: &Snapshot) {
    let Some(audit) = &snapshot.health.audit else {
        return;
    };
    for (name, help, value) in [
        (
            "memmon_audits",
            "Comparisons of all rows with the allocators' own numbers.",
            audit.audits,
        ),
        (
            "memmon_audit_differed_rows",
            "Rows that were not what the allocator says, in all audits; they were corrected.",
            audit.differed_in_all,
        ),
    ] {
        out.single(&Family::counter(name, help), value);
    }
    for (name, help, value) in [
        (
            "memmon_audit_rows",
            "Rows that the latest audit compared.",
            audit.rows,
        ),
        (
            "memmon_audit_unsettled_rows",
            "Of these, rows that never held still for long enough to tell.",
            audit.unsettled,
        ),
    ] {
        out.single(&Family::gauge(name, help), value);
    }
    let seconds = Duration::from_nanos(audit.took_ns).as_secs_f64();
    out.single(&AUDIT_TOOK, seconds);
}

/// By runtime and state. A runtime that is there has both, so that an alert sees the 0 before the 1.
fn libraries(libraries: &[Library]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for library in libraries {
        for (state, is) in [
            ("observed", library.problem.is_none()),
            ("not_understood", library.problem.is_some()),
        ] {
            let mut labels = String::new();
            label(&mut labels, "runtime", &library.runtime);
            label(&mut labels, "state", state);
            *counts.entry(labels).or_default() += u64::from(is);
        }
    }
    counts
}
