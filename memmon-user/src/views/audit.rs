//! What an audit found, for a person's eyes and for a program's.

use super::{
    snapshot::columns::{Align, Column, column, layout},
    units::{UNKNOWN, counted, grouped},
};
use crate::{
    tables::audit::{AuditedRow, Numbers, Report, Verdict},
    text,
};

const ROWS: [Column; 9] = [
    column("PID", Align::Right, 0),
    column("COMMAND", Align::Left, 1),
    column("DEVICE", Align::Left, 0),
    column("POOL", Align::Left, 0),
    column("CHARGED", Align::Right, 0),
    column("REQUESTED", Align::Right, 2),
    column("LIVE", Align::Right, 0),
    column("VERDICT", Align::Left, 0),
    column("ALLOCATOR SAYS", Align::Left, 0),
];

pub fn json(report: &Report) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}

/// Bytes are exact: what differs may differ by one.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    if !report.rows.is_empty() {
        let rows: Vec<Vec<String>> = report.rows.iter().map(row).collect();
        out.push_str(&layout(&ROWS, &rows, None));
        out.push('\n');
    }
    out.push_str(&sentence(report));
    out.push('\n');
    out
}

fn row(row: &AuditedRow) -> Vec<String> {
    let devices: Vec<String> = row
        .devices
        .iter()
        .map(|device| {
            device
                .device
                .map_or_else(|| UNKNOWN.into(), |id| id.to_string())
        })
        .collect();
    let Numbers {
        charged_bytes,
        requested_bytes,
        live_allocations,
    } = row.ledger;
    vec![
        row.pid.to_string(),
        text::visible(&row.comm),
        devices.join(","),
        text::visible(&row.pool),
        charged_bytes.to_string(),
        requested_bytes.to_string(),
        live_allocations.to_string(),
        match row.verdict {
            Verdict::Agreed if row.rebased => "completed",
            Verdict::Agreed => "agreed",
            Verdict::Differed if row.rebased => "DIFFERED, corrected",
            Verdict::Differed => "DIFFERED",
            Verdict::Unsettled => "unsettled",
        }
        .to_owned(),
        match (&row.allocator, row.allocator == Some(row.ledger)) {
            (_, true) => "the same".to_owned(),
            (None, _) => UNKNOWN.to_owned(),
            (Some(own), _) => format!(
                "{} charged, {} requested, {} live",
                own.charged_bytes, own.requested_bytes, own.live_allocations
            ),
        },
    ]
}

/// All of it in one line.
pub fn sentence(report: &Report) -> String {
    let mut parts = vec![format!(
        "{} of {} compared in {}.{:03} ms",
        counted(report.rows.len() as u64, "row", "rows"),
        counted(report.processes, "process", "processes"),
        grouped(report.took_ns / 1_000_000),
        report.took_ns / 1_000 % 1_000,
    )];
    for (verdict, words) in [
        (Verdict::Differed, "differed"),
        (Verdict::Unsettled, "unsettled (never held still)"),
    ] {
        let count = report.count(verdict);
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    if report.left_out > 0 {
        parts.push(counted(
            report.left_out,
            "process could not be looked into",
            "processes could not be looked into",
        ));
    }
    if parts.len() == 1 && !report.rows.is_empty() {
        parts.push("all agree".to_owned());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_of_what_differs() {
        let numbers = |charged_bytes: i64| Numbers {
            charged_bytes,
            requested_bytes: 1000,
            live_allocations: 1,
        };
        let row = |verdict: Verdict, own: i64| AuditedRow {
            pid: 7,
            comm: "python".into(),
            pool: "DRAM".into(),
            verdict,
            ledger: numbers(4096),
            allocator: Some(numbers(own)),
            rebased: verdict == Verdict::Differed,
            ..AuditedRow::default()
        };
        let report = Report {
            processes: 1,
            took_ns: 1_234_567,
            rows: vec![row(Verdict::Agreed, 4096), row(Verdict::Differed, 8192)],
            ..Report::default()
        };
        let text = table(&report);
        assert!(text.contains("DIFFERED, corrected"), "{text}");
        assert!(
            text.contains("8192 charged, 1000 requested, 1 live"),
            "{text}"
        );
        assert!(
            text.ends_with("2 rows of 1 process compared in 1.234 ms; 1 differed\n"),
            "{text}"
        );
        let fine = Report {
            rows: vec![row(Verdict::Agreed, 4096)],
            ..report
        };
        assert!(
            sentence(&fine).ends_with("all agree"),
            "{}",
            sentence(&fine)
        );
    }
}
