//! One row per (process, device, pool), RFC 4180. What is not known is an empty cell.

use serde::Serialize;

use crate::tables::snapshot::{Process, Snapshot, Usage};
use crate::text;

/// The names of the columns are the names of the JSON; the order of the fields is the order of the columns.
#[derive(Serialize)]
struct Row<'a> {
    pid: u32,
    start_time: Option<&'a str>,
    comm: &'a str,
    /// As one would type it in a shell.
    command: String,
    uid: Option<u32>,
    user: Option<&'a str>,
    cgroup: Option<&'a str>,
    state: &'a str,
    since: &'a str,
    runtime: Option<&'a str>,
    device: Option<i64>,
    device_uid: Option<&'a str>,
    pool: Option<&'a str>,
    requested_bytes: Option<u64>,
    charged_bytes: Option<u64>,
    peak_charged_bytes: Option<u64>,
    live_allocations: Option<u64>,
    allocations: Option<u64>,
    frees: Option<u64>,
    failed_allocations: Option<u64>,
    exact: Option<bool>,
    /// Tells the snapshots of a stream apart.
    taken_at: &'a str,
    rebased: Option<u64>,
}

const COLUMNS: [&str; 23] = [
    "pid",
    "start_time",
    "comm",
    "command",
    "uid",
    "user",
    "cgroup",
    "state",
    "since",
    "runtime",
    "device",
    "device_uid",
    "pool",
    "requested_bytes",
    "charged_bytes",
    "peak_charged_bytes",
    "live_allocations",
    "allocations",
    "frees",
    "failed_allocations",
    "exact",
    "taken_at",
    "rebased",
];

pub fn render(snapshot: &Snapshot, header: bool) -> Result<String, csv::Error> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    if header {
        writer.write_record(COLUMNS)?;
    }
    for process in &snapshot.processes {
        match &process.usage {
            // Not understood: that it is there is known, what it holds is not.
            None => writer.serialize(row(snapshot, process, None))?,
            Some(usage) => {
                for usage in usage {
                    writer.serialize(row(snapshot, process, Some(usage)))?;
                }
            }
        }
    }
    let bytes = writer
        .into_inner()
        .map_err(|e| csv::Error::from(e.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn row<'a>(snapshot: &'a Snapshot, process: &'a Process, usage: Option<&'a Usage>) -> Row<'a> {
    Row {
        pid: process.pid,
        start_time: process.start_time.as_deref(),
        comm: &process.comm,
        command: text::shell_words(&process.command),
        uid: process.uid,
        user: process.user.as_deref(),
        cgroup: process.cgroup.as_deref(),
        state: &process.state,
        since: &process.since,
        runtime: usage.map(|u| u.runtime.as_str()),
        device: usage.and_then(|u| u.device),
        device_uid: usage.and_then(|u| u.device_uid.as_deref()),
        pool: usage.map(|u| u.pool.as_str()),
        requested_bytes: usage.and_then(|u| u.requested_bytes),
        charged_bytes: usage.and_then(|u| u.charged_bytes),
        peak_charged_bytes: usage.and_then(|u| u.peak_charged_bytes),
        live_allocations: usage.and_then(|u| u.live_allocations),
        allocations: usage.and_then(|u| u.allocations),
        frees: usage.and_then(|u| u.frees),
        failed_allocations: usage.and_then(|u| u.failed_allocations),
        exact: usage.map(|u| u.exact),
        taken_at: &snapshot.taken_at,
        rebased: usage.map(|u| u.rebased),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn columns_are_the_json_names() {
        let snapshot = sample::busy();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer
            .serialize(row(&snapshot, &snapshot.processes[0], None))
            .unwrap();
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert_eq!(text.lines().next().unwrap(), COLUMNS.join(","));
    }

    #[test]
    fn every_cell_reads_back_line_breaks_and_quotes_included() {
        let snapshot = sample::troubled();
        let text = render(&snapshot, true).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let expected: usize = snapshot
            .processes
            .iter()
            .map(|p| p.usage.as_ref().map_or(1, Vec::len))
            .sum();
        assert_eq!(rows.len(), expected);
        let hostile = rows.last().unwrap();
        assert_eq!(&hostile[2], sample::hostile().comm);
        assert!(hostile[3].contains("a\nb,\"c\""));
        let not_understood = rows.iter().find(|r| &r[0] == "77").unwrap();
        assert!(not_understood.iter().skip(9).take(12).all(str::is_empty));
        assert_eq!(
            rows.iter().find(|r| &r[12] == "CB").unwrap()[14],
            *"",
            "unknown is empty, not 0"
        );
    }
}
