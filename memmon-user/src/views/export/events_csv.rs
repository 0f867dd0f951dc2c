//! A line for each event, in the order of time; and for each process and pool that was freed at
//! once or ended, what it held then.

use csv::Writer;

use super::{
    Chunks, ExportError,
    totals::{Change, Totals},
};
use crate::{
    clock,
    recording::Cursor,
    tables::{
        Fact, Filter, Tables,
        event::{Event, EventKind},
        facts::{DeviceFacts, Proc},
    },
};

const COLUMNS: [&str; 13] = [
    "time",
    "pid",
    "comm",
    "tid",
    "event",
    "runtime",
    "devices",
    "pool",
    "address",
    "requested_bytes",
    "charged_bytes",
    "process_charged_bytes",
    "process_live_allocations",
];

pub fn write(cursor: Cursor, filter: &Filter, to: &mut Chunks) -> Result<(), ExportError> {
    let mut totals = Totals::new(filter);
    let mut lines = Writer::from_writer(Vec::new());
    lines.write_record(COLUMNS)?;
    // What was held when the recording began is the state, and no event.
    totals.start(&cursor.replica.tables);
    let mut result = Ok(());
    cursor.each(&mut |cursor, fact| {
        if result.is_ok() {
            result = visit(cursor, fact, &mut totals, &mut lines, to);
        }
    })?;
    result?;
    hand_on(lines, to)
}

fn visit(
    cursor: &Cursor,
    fact: &Fact,
    totals: &mut Totals<'_>,
    lines: &mut Writer<Vec<u8>>,
    to: &mut Chunks,
) -> Result<(), ExportError> {
    let tables = &cursor.replica.tables;
    let changes = totals.take(tables, fact);
    let time = clock::rfc3339(cursor.now().epoch_ns.into()).unwrap_or_default();
    match fact {
        Fact::Event(event) => line_of_event(&time, tables, totals, event, lines)?,
        Fact::FreedAll { .. } => lines_of_end("free-all", &time, tables, totals, &changes, lines)?,
        Fact::Exited { .. } => lines_of_end("exit", &time, tables, totals, &changes, lines)?,
        _ => {}
    }
    if lines.get_ref().len() > super::CHUNK {
        let full = std::mem::replace(lines, plain());
        hand_on(full, to)?;
    }
    Ok(())
}

fn plain() -> Writer<Vec<u8>> {
    csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new())
}

fn hand_on(lines: Writer<Vec<u8>>, to: &mut Chunks) -> Result<(), ExportError> {
    let bytes = lines
        .into_inner()
        .map_err(|error| csv::Error::from(std::io::Error::other(error.to_string())))?;
    to.bytes.extend(bytes);
    to.hand_on_if_large()
}

fn kind_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Alloc => "alloc",
        EventKind::Free => "free",
        EventKind::Failed => "failed",
        EventKind::UnknownFree => "unknown-free",
        EventKind::Register => "register",
        EventKind::Unfreed => "unfreed",
    }
}

fn line_of_event(
    time: &str,
    tables: &Tables,
    totals: &Totals<'_>,
    event: &Event,
    lines: &mut Writer<Vec<u8>>,
) -> Result<(), ExportError> {
    let Some(track) = totals.of_event(event) else {
        return Ok(());
    };
    if !totals.takes(tables, track) {
        return Ok(());
    }
    let charged = tables.is_charged(event.row.space, event.row.pool);
    let of_charged = |bytes: String| if charged { bytes } else { String::new() };
    lines.write_record([
        time,
        &event.pid.to_string(),
        &comm(tables, event.proc),
        &event.tid.to_string(),
        kind_name(event.kind),
        &tables.runtime_name(event.row.space),
        &devices(&tables.devices_of(&event.row)),
        &tables.pool_name(event.row.space, event.row.pool),
        &format!("{:#x}", event.address),
        &event.requested.to_string(),
        &of_charged(event.charged.to_string()),
        &of_charged(track.charged.to_string()),
        &track.live.to_string(),
    ])?;
    Ok(())
}

fn lines_of_end(
    what: &str,
    time: &str,
    tables: &Tables,
    totals: &Totals<'_>,
    changes: &[Change],
    lines: &mut Writer<Vec<u8>>,
) -> Result<(), ExportError> {
    for Change { track, before } in changes {
        let Some(track) = totals.tracks.get(*track) else {
            continue;
        };
        if !totals.takes(tables, track) {
            continue;
        }
        let pid = tables.facts_of(track.proc).map_or(0, |facts| facts.pid);
        let charged = tables.is_charged(track.space, track.pool);
        let of_charged = |bytes: i64| {
            if charged {
                bytes.to_string()
            } else {
                String::new()
            }
        };
        lines.write_record([
            time,
            &pid.to_string(),
            &comm(tables, track.proc),
            "",
            what,
            &tables.runtime_name(track.space),
            &devices(std::slice::from_ref(&track.device)),
            &tables.pool_name(track.space, track.pool),
            "",
            "",
            &of_charged(before - track.charged),
            &of_charged(track.charged),
            &track.live.to_string(),
        ])?;
    }
    Ok(())
}

fn comm(tables: &Tables, proc: Proc) -> String {
    tables
        .facts_of(proc)
        .map(|facts| facts.comm.clone())
        .unwrap_or_default()
}

/// `0;1`
fn devices(devices: &[DeviceFacts]) -> String {
    let ids = devices.iter().filter_map(|device| device.id);
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(";")
}
