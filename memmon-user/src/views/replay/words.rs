//! An event, in words.

use crate::{
    clock,
    tables::{
        Tables,
        event::{Event, EventKind},
    },
    views::{pools, units::Bytes},
};

/// `12:00:01.123456 alloc 2.00 MiB of DRAM on tt-metal:0,1 at 0x1000 by python (1234)`
pub fn of_event(event: &Event, epoch_ns: u64, tables: &Tables) -> String {
    let time = clock::rfc3339(epoch_ns.into()).unwrap_or_default();
    // Of the day, to the microsecond.
    let time: String = time.chars().skip(11).take(15).collect();
    let time = time.trim_end_matches('Z');
    let what = match event.kind {
        EventKind::Alloc => "alloc",
        EventKind::Free => "free",
        EventKind::Failed => "failed:",
        EventKind::UnknownFree => "free of something unknown:",
        EventKind::Register => "register",
        EventKind::Unfreed => "failed to free",
    };
    let size = Bytes::Human.format(event.requested);
    let pool = tables.pool_name(event.row.space, event.row.pool);
    let devices = tables.devices_of(&event.row);
    let ids: Vec<Option<i64>> = devices.iter().map(|device| device.id).collect();
    let place = pools::device_ids(&tables.runtime_name(event.row.space), &ids);
    let comm = tables
        .facts_of(event.proc)
        .map_or("?", |facts| facts.comm.as_str());
    let at = match event.kind {
        EventKind::Failed => String::new(),
        _ => format!(" at {:#x}", event.address),
    };
    format!(
        "{time} {what} {size} of {pool} on {place}{at} by {comm} ({})",
        event.pid
    )
}
