//! For a person's eyes: aligned, sorted by what is held, unknown as `?`. Every line stands alone, so that it can be grepped.

use std::cmp::Reverse;

use super::Options;
use super::columns::{Align, Column, column, layout};
use crate::views::units::{self, Bytes, UNKNOWN};
use crate::views::{health, pools};
use crate::{
    tables::snapshot::{Device, Library, Pool, Process, Snapshot, Usage},
    text,
};

const DEVICES: [Column; 8] = [
    column("DEVICE", Align::Left, 0),
    column("POOL", Align::Left, 0),
    column("USED", Align::Right, 0),
    column("CAPACITY", Align::Right, 0),
    column("%", Align::Right, 0),
    column("PEAK", Align::Right, 1),
    column("LARGEST FREE/BANK", Align::Right, 2),
    column("NAME", Align::Left, 3),
];

const PROCESSES: [Column; 14] = [
    column("PID", Align::Right, 0),
    column("USER", Align::Left, 4),
    column("DEVICE", Align::Left, 0),
    column("POOL", Align::Left, 0),
    column("CHARGED", Align::Right, 0),
    column("REQUESTED", Align::Right, 5),
    column("PEAK", Align::Right, 3),
    column("LIVE", Align::Right, 6),
    column("ALLOCS", Align::Right, 8),
    column("FREES", Align::Right, 9),
    column("FAILED", Align::Right, 2),
    column("SINCE", Align::Left, 7),
    column("STATE", Align::Left, 1),
    column("COMMAND", Align::Left, 0),
];

pub fn render(snapshot: &Snapshot, options: &Options) -> String {
    let bytes = if options.exact_bytes {
        Bytes::Exact
    } else {
        Bytes::Human
    };
    let mut out = heading(snapshot);
    if !snapshot.devices.is_empty() {
        out.push('\n');
        out.push_str(&layout(
            &DEVICES,
            &device_rows(&snapshot.devices, bytes),
            options.width,
        ));
    }
    out.push('\n');
    if snapshot.processes.is_empty() {
        out.push_str("No process has a known accelerator runtime loaded.\n");
    } else {
        out.push_str(&layout(
            &PROCESSES,
            &process_rows(&snapshot.processes, &snapshot.devices, bytes),
            options.width,
        ));
    }
    out.push('\n');
    out.push_str(&health(snapshot));
    for note in &snapshot.health.notes {
        out.push_str(&format!("note: {}\n", text::visible(note)));
    }
    for library in &snapshot.libraries {
        if let Some(problem) = &library.problem {
            out.push_str(&not_understood(library, problem));
        }
    }
    out
}

fn heading(snapshot: &Snapshot) -> String {
    format!(
        "memmon {} on {}: {} at {}\n",
        text::visible(&snapshot.observer.version),
        text::visible(&snapshot.host),
        match snapshot.observer.scope.as_str() {
            "all" => "all processes, all devices".into(),
            scope => text::visible(scope),
        },
        text::visible(&snapshot.taken_at),
    )
}

fn device_rows(devices: &[Device], bytes: Bytes) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for device in devices {
        let mut of_device: Vec<&Pool> = device.pools.iter().collect();
        of_device.sort_by(|a, b| pools::order(&a.pool, &b.pool));
        for pool in of_device {
            let percent = pool
                .charged_bytes
                .zip(pool.capacity_bytes)
                .and_then(|(u, c)| units::percent(u, c));
            rows.push(vec![
                pools::device_label(
                    devices,
                    &device.runtime,
                    device.device,
                    device.device_uid.as_deref(),
                ),
                text::visible(&pool.pool),
                bytes.format_or_unknown(pool.charged_bytes),
                bytes.format_or_unknown(pool.capacity_bytes),
                percent.map_or_else(|| UNKNOWN.into(), |p| format!("{p}%")),
                bytes.format_or_unknown(pool.peak_charged_bytes),
                bytes.format_or_unknown(pool.largest_free_bytes_per_bank),
                text::visible(device.name.as_deref().unwrap_or(UNKNOWN)),
            ]);
        }
    }
    rows
}

fn process_rows(processes: &[Process], devices: &[Device], bytes: Bytes) -> Vec<Vec<String>> {
    let mut rows: Vec<(&Process, Option<&Usage>)> = Vec::new();
    for process in processes {
        match &process.usage {
            Some(usage) if !usage.is_empty() => {
                rows.extend(usage.iter().map(|u| (process, Some(u))))
            }
            _ => rows.push((process, None)),
        }
    }
    // What ended holds nothing any more, however much it held: it comes last.
    rows.sort_by_key(|(p, u)| {
        let charged = u.and_then(|u| u.charged_bytes);
        (
            p.state == "exited",
            Reverse(charged),
            Reverse(u.and_then(|u| u.requested_bytes)),
            p.pid,
        )
    });
    rows.into_iter()
        .map(|(process, usage)| process_row(process, usage, devices, bytes))
        .collect()
}

fn process_row(
    process: &Process,
    usage: Option<&Usage>,
    devices: &[Device],
    bytes: Bytes,
) -> Vec<String> {
    // A process that is understood and has no rows holds nothing; one that is not may hold anything.
    let without = if process.usage.is_none() {
        UNKNOWN
    } else {
        "-"
    };
    let mark = if usage.is_none_or(|u| u.exact) {
        ""
    } else {
        "~"
    };
    let size = |get: fn(&Usage) -> Option<u64>| {
        usage.map_or_else(
            || without.into(),
            |u| format!("{mark}{}", bytes.format_or_unknown(get(u))),
        )
    };
    let charged = |get: fn(&Usage) -> Option<u64>| match usage {
        Some(usage) if usage.uncharged => "-".into(),
        _ => size(get),
    };
    let count = |get: fn(&Usage) -> Option<u64>| {
        usage.map_or_else(
            || without.into(),
            |u| format!("{mark}{}", units::count_or_unknown(get(u))),
        )
    };
    vec![
        process.pid.to_string(),
        pools::user(process.user.as_deref(), process.uid),
        usage.map_or_else(
            || without.into(),
            |u| pools::device_label(devices, &u.runtime, u.device, u.device_uid.as_deref()),
        ),
        usage.map_or_else(|| without.into(), |u| text::visible(&u.pool)),
        charged(|u| u.charged_bytes),
        size(|u| u.requested_bytes),
        charged(|u| u.peak_charged_bytes),
        count(|u| u.live_allocations),
        count(|u| u.allocations),
        count(|u| u.frees),
        count(|u| u.failed_allocations),
        match usage.map_or(0, |u| u.rebased) {
            0 => text::visible(&process.since),
            times => format!("{}, rebased {times}", text::visible(&process.since)),
        },
        text::visible(&process.state),
        command(process),
    ]
}

/// The command line; in brackets the short name of a process that has none.
fn command(process: &Process) -> String {
    if process.command.is_empty() {
        format!("[{}]", text::visible(&process.comm))
    } else {
        text::visible(&text::shell_words(&process.command))
    }
}

fn health(snapshot: &Snapshot) -> String {
    format!("health: {}\n", health::sentence(snapshot).join(", "))
}

fn not_understood(library: &Library, problem: &str) -> String {
    format!(
        "not understood: {} {} ({}): {}\n",
        text::visible(&library.runtime),
        text::visible(&library.path),
        units::counted(library.processes as u64, "process", "processes"),
        text::visible(problem),
    )
}
