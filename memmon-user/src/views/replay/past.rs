//! What lines of history show at a moment that was leapt to: snapshots of the minutes before it.

use std::sync::Arc;

use crate::{
    clock,
    recording::{Cursor, Recording, reader::ReadError},
    tables::{Filter, snapshot::Snapshot},
};

const SECOND: u64 = 1_000_000_000;
/// How far back, and how far apart. Where very much happened, only what is near.
const REACHES: [(u64, u64); 3] = [
    (15 * 60 * SECOND, 15 * SECOND),
    (2 * 60 * SECOND, 2 * SECOND),
    (20 * SECOND, SECOND / 2),
];
/// The most events that are gone through for it.
const MOST_EVENTS: u64 = 500_000;

/// Oldest first.
pub fn before(
    recording: &Arc<Recording>,
    filter: &Filter,
    boot_ns: u64,
) -> Result<Vec<Arc<Snapshot>>, ReadError> {
    let mut past = Vec::new();
    let start = recording.start().boot_ns;
    let end = recording.events_before(boot_ns);
    let mut reaches = REACHES.iter().peekable();
    let mut cursor = Cursor::new(recording.clone())?;
    while let Some((reach, apart)) = reaches.next() {
        let from = boot_ns.saturating_sub(*reach).max(start);
        if end - recording.events_before(from).min(end) > MOST_EVENTS {
            continue;
        }
        // The finer ones take over where they begin.
        let until = reaches
            .peek()
            .map_or(boot_ns, |(next, _)| boot_ns.saturating_sub(*next));
        let mut at = from;
        while at < until {
            cursor.seek(at)?;
            past.push(Arc::new(snapshot(&cursor, filter)));
            at = at.saturating_add(*apart);
        }
    }
    cursor.seek(boot_ns)?;
    past.push(Arc::new(snapshot(&cursor, filter)));
    Ok(past)
}

/// What is to be seen at the cursor's moment.
pub fn snapshot(cursor: &Cursor, filter: &Filter) -> Snapshot {
    let at = clock::rfc3339(cursor.now().epoch_ns.into()).unwrap_or_default();
    filter.apply(cursor.replica.snapshot(at))
}
