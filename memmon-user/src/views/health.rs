//! How far the numbers can be trusted, in words that every view uses.

use super::units::{counted, grouped};
use crate::tables::snapshot::{Process, Snapshot};

/// `running` until the snapshot says that it ended.
pub fn is_running(process: &Process) -> bool {
    process.state != "exited"
}

/// Running processes whose use is not known, because their library is not understood.
pub fn not_understood(snapshot: &Snapshot) -> usize {
    let unknown = |p: &&Process| p.usage.is_none() && is_running(p);
    snapshot.processes.iter().filter(unknown).count()
}

/// What went wrong; empty when every number is known to be true.
pub fn troubles(snapshot: &Snapshot) -> Vec<String> {
    let health = &snapshot.health;
    [
        (
            health.lost_events,
            "lost event",
            "lost events (totals are not affected)",
        ),
        (health.failed_reads, "failed read", "failed reads"),
        (health.unknown_frees, "unknown free", "unknown frees"),
        (health.failed_frees, "refused free", "refused frees"),
        (health.inexact_rows, "inexact row (~)", "inexact rows (~)"),
        (
            snapshot
                .health
                .audit
                .as_ref()
                .map_or(0, |audit| audit.differed_in_all),
            "row corrected by an audit",
            "rows corrected by audits",
        ),
        (
            not_understood(snapshot) as u64,
            "process not understood (?)",
            "processes not understood (?)",
        ),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, one, many)| counted(count, one, many))
    .collect()
}

/// What the latest audit found, where there was one.
pub fn audit(snapshot: &Snapshot) -> Option<String> {
    let audit = snapshot.health.audit.as_ref()?;
    let held = audit.rows.saturating_sub(audit.unsettled);
    let mut words = format!("{} audited", counted(held, "row", "rows"));
    if audit.unsettled > 0 {
        words.push_str(&format!(", {} never held still", audit.unsettled));
    }
    Some(words)
}

/// The parts of one line: the events, then what went wrong or that nothing did.
pub fn sentence(snapshot: &Snapshot) -> Vec<String> {
    let mut parts = vec![format!("{} events", grouped(snapshot.health.events))];
    let troubles = troubles(snapshot);
    if troubles.is_empty() {
        parts.push("nothing lost, every row exact".into());
    }
    parts.extend(troubles);
    parts.extend(audit(snapshot));
    parts
}
