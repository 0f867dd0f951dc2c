//! OpenMetrics 1.0 text. An unknown number has no sample: absent is not 0.
//!
//! Gauges tell what is held now, so a process that ended has none; its counters and peak stay
//! as long as the snapshot keeps it, for the last scrape to see.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::tables::snapshot::{Device, Pool, Process, Snapshot, Usage};
use crate::views::health::{is_running, not_understood};
use crate::views::pools;

/// Sample lines by their labels: a label set may stand only once in a family.
type Samples = BTreeMap<String, u64>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
}

struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        help,
    }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        help,
    }
}

/// A family whose samples are rows (process, device, pool).
struct PerRow {
    family: Family,
    /// Whether it still holds for a process that ended.
    after_exit: bool,
    value: fn(&Usage) -> Option<u64>,
}

const PER_ROW: [PerRow; 7] = [
    PerRow {
        family: gauge(
            "memmon_charged_bytes",
            "What the allocator took from the pool for this process.",
        ),
        after_exit: false,
        value: |u| u.charged_bytes,
    },
    PerRow {
        family: gauge(
            "memmon_requested_bytes",
            "What the process asked for and still holds.",
        ),
        after_exit: false,
        value: |u| u.requested_bytes,
    },
    PerRow {
        family: gauge(
            "memmon_peak_charged_bytes",
            "The most that was charged to this process at one time.",
        ),
        after_exit: true,
        value: |u| u.peak_charged_bytes,
    },
    PerRow {
        family: gauge(
            "memmon_live_allocations",
            "Allocations that were not freed yet.",
        ),
        after_exit: false,
        value: |u| u.live_allocations,
    },
    PerRow {
        family: counter("memmon_allocations", "Allocations that succeeded."),
        after_exit: true,
        value: |u| u.allocations,
    },
    PerRow {
        family: counter("memmon_frees", "Allocations that were freed."),
        after_exit: true,
        value: |u| u.frees,
    },
    PerRow {
        family: counter(
            "memmon_failed_allocations",
            "Allocations that failed, out of memory above all.",
        ),
        after_exit: true,
        value: |u| u.failed_allocations,
    },
];

/// A family whose samples are (device, pool).
struct PerPool {
    family: Family,
    value: fn(&Pool) -> Option<u64>,
}

const PER_POOL: [PerPool; 3] = [
    PerPool {
        family: gauge("memmon_capacity_bytes", "What the pool can hold."),
        value: |p| p.capacity_bytes,
    },
    PerPool {
        family: gauge(
            "memmon_device_charged_bytes",
            "What is taken from the pool, over all processes observed.",
        ),
        value: |p| p.charged_bytes,
    },
    PerPool {
        family: gauge(
            "memmon_device_peak_charged_bytes",
            "The most that was taken from the pool at one time.",
        ),
        value: |p| p.peak_charged_bytes,
    },
];

pub fn render(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    for per_row in &PER_ROW {
        write_family(&mut out, &per_row.family, &row_samples(snapshot, per_row));
    }
    for per_pool in &PER_POOL {
        let samples = snapshot
            .devices
            .iter()
            .flat_map(|d| d.pools.iter().map(move |p| (d, p)));
        let samples = samples
            .filter_map(|(d, p)| Some((pool_labels(d, p), (per_pool.value)(p)?)))
            .collect();
        write_family(&mut out, &per_pool.family, &samples);
    }
    let health = &snapshot.health;
    let unknown = not_understood(snapshot);
    for (family, value) in [
        (
            counter(
                "memmon_events",
                "Allocations, frees and failures that were seen.",
            ),
            health.events,
        ),
        (
            counter(
                "memmon_lost_events",
                "Events whose history was lost; totals are not affected.",
            ),
            health.lost_events,
        ),
        (
            counter(
                "memmon_failed_reads",
                "Reads of a target's memory that failed.",
            ),
            health.failed_reads,
        ),
        (
            counter(
                "memmon_unknown_frees",
                "Frees of what was not known to be allocated.",
            ),
            health.unknown_frees,
        ),
        (
            gauge(
                "memmon_inexact_rows",
                "Rows whose numbers are not known to be true.",
            ),
            health.inexact_rows,
        ),
        (
            gauge(
                "memmon_unknown_processes",
                "Running processes whose use is not known: library not understood.",
            ),
            u64::try_from(unknown).unwrap_or(u64::MAX),
        ),
    ] {
        write_family(&mut out, &family, &Samples::from([(String::new(), value)]));
    }
    out.push_str("# EOF\n");
    out
}

fn row_samples(snapshot: &Snapshot, per_row: &PerRow) -> Samples {
    let mut samples = Samples::new();
    // A pid that came back within the minute: the one that runs now is the one that counts.
    let of_pid: BTreeMap<u32, &Process> = snapshot
        .processes
        .iter()
        .filter(|p| is_running(p))
        .map(|p| (p.pid, p))
        .collect();
    for process in &snapshot.processes {
        let superseded = !is_running(process) && of_pid.contains_key(&process.pid);
        if superseded || !(per_row.after_exit || is_running(process)) {
            continue;
        }
        for usage in process.usage.iter().flatten() {
            if let Some(value) = (per_row.value)(usage) {
                // Rows whose device could not be resolved look alike: they are one sample.
                let sum = samples.entry(row_labels(process, usage)).or_default();
                *sum = sum.saturating_add(value);
            }
        }
    }
    samples
}

fn write_family(out: &mut String, family: &Family, samples: &Samples) {
    let Family { name, kind, help } = family;
    let (kind_name, suffix) = match kind {
        Kind::Gauge => ("gauge", ""),
        Kind::Counter => ("counter", "_total"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}");
    let _ = writeln!(out, "# TYPE {name} {kind_name}");
    if name.ends_with("_bytes") {
        let _ = writeln!(out, "# UNIT {name} bytes");
    }
    for (labels, value) in samples {
        let _ = writeln!(out, "{name}{suffix}{labels} {value}");
    }
}

fn row_labels(process: &Process, usage: &Usage) -> String {
    let user = process.user.is_some() || process.uid.is_some();
    labels(&[
        ("runtime", Some(usage.runtime.clone())),
        ("device", usage.device.map(|d| d.to_string())),
        ("device_uid", usage.device_uid.clone()),
        ("pool", Some(usage.pool.clone())),
        ("pid", Some(process.pid.to_string())),
        ("comm", Some(process.comm.clone())),
        (
            "user",
            user.then(|| pools::user(process.user.as_deref(), process.uid)),
        ),
    ])
}

fn pool_labels(device: &Device, pool: &Pool) -> String {
    labels(&[
        ("runtime", Some(device.runtime.clone())),
        ("device", device.device.map(|d| d.to_string())),
        ("device_uid", device.device_uid.clone()),
        ("pool", Some(pool.pool.clone())),
    ])
}

/// `{name="value",…}`; a label that is not known is left out.
fn labels(labels: &[(&str, Option<String>)]) -> String {
    let mut out = String::from("{");
    for (name, value) in labels {
        if let Some(value) = value {
            if out.len() > 1 {
                out.push(',');
            }
            let _ = write!(out, "{name}=\"{}\"", escape(value));
        }
    }
    out.push('}');
    out
}

/// Backslash, quote and line break as the format says. Other control characters, which it allows,
/// are written out: people look at this text in a terminal.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => out.push_str(r"\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str(r"\n"),
            c if c.is_control() => {
                let _ = write!(out, r"\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::views::sample;

    #[test]
    fn escaping_follows_the_format() {
        assert_eq!(escape("a\"b\\c\nd\x1be"), "a\\\"b\\\\c\\nd\\\\x1be");
    }

    #[test]
    fn no_label_set_stands_twice_even_when_a_pid_comes_back() {
        let mut snapshot = sample::troubled();
        let twin = |state: &str| Process {
            state: state.into(),
            ..sample::busy().processes.remove(0)
        };
        snapshot.processes.extend([twin("exited"), twin("exited")]);
        snapshot.processes.push(sample::hostile());
        let text = render(&snapshot);
        let mut seen = HashSet::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<u64>().is_ok(), "{line}");
            assert!(seen.insert(series.to_string()), "{line}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn unknown_is_absent_and_what_ended_holds_nothing() {
        let text = render(&sample::busy());
        assert!(
            !text
                .lines()
                .any(|l| l.starts_with("memmon_charged_bytes{") && l.contains("pool=\"CB\""))
        );
        assert!(
            !text
                .lines()
                .any(|l| l.starts_with("memmon_charged_bytes{") && l.contains("pid=\"3999\""))
        );
        assert!(
            text.lines()
                .any(|l| l.starts_with("memmon_allocations_total{") && l.contains("pid=\"3999\""))
        );
        assert!(text.contains("\nmemmon_unknown_processes 1\n"));
    }
}
