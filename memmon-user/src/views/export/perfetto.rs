//! A trace that Perfetto opens: a counter for each process, device and pool, and a mark where an
//! allocation failed, a process ended holding memory, or the observation had a problem.

use std::collections::HashSet;

use super::{
    Chunks, ExportError,
    totals::{Change, Totals, Track},
    trace::{
        BOOTTIME, Clock, ClockSnapshot, CounterDescriptor, Data, DebugAnnotation,
        ProcessDescriptor, REALTIME, TYPE_COUNTER, TYPE_INSTANT, TracePacket, TrackDescriptor,
        TrackEvent, UNIT_SIZE_BYTES, put,
    },
};
use crate::{
    recording::Cursor,
    tables::{
        Fact, Filter, Tables,
        event::{Event, EventKind},
        facts::Proc,
        snapshot::NoticeKind,
    },
    views::{pools, units::Bytes},
};

const SEQUENCE: u32 = 1;
/// `SEQ_INCREMENTAL_STATE_CLEARED`
const FIRST: u32 = 1;
/// Of the track of what concerns no process.
const OWN_TRACK: u64 = 1;

pub fn write(cursor: Cursor, filter: &Filter, to: &mut Chunks) -> Result<(), ExportError> {
    let mut trace = Trace {
        totals: Totals::new(filter),
        to,
        described: HashSet::new(),
        now: 0,
    };
    trace.begin(&cursor);
    let mut result = Ok(());
    let cursor = cursor.each(&mut |cursor, fact| {
        if result.is_ok() {
            result = trace.visit(cursor, fact);
        }
    })?;
    result?;
    let tables = &cursor.replica.tables;
    let changes = trace.totals.settle(tables);
    trace.counters(tables, &changes);
    Ok(())
}

struct Trace<'a> {
    totals: Totals<'a>,
    to: &'a mut Chunks,
    described: HashSet<u64>,
    now: u64,
}

impl Trace<'_> {
    fn begin(&mut self, cursor: &Cursor) {
        let now = cursor.now();
        self.now = now.boot_ns;
        let clock = |id: u32, timestamp: u64| Clock {
            clock_id: Some(id),
            timestamp: Some(timestamp),
        };
        let clocks = ClockSnapshot {
            clocks: vec![clock(BOOTTIME, now.boot_ns), clock(REALTIME, now.epoch_ns)],
        };
        let first = TracePacket {
            sequence_flags: Some(FIRST),
            ..self.packet(Data::ClockSnapshot(clocks))
        };
        put(&first, &mut self.to.bytes);
        let changes = self.totals.start(&cursor.replica.tables);
        self.counters(&cursor.replica.tables, &changes);
    }

    fn visit(&mut self, cursor: &Cursor, fact: &Fact) -> Result<(), ExportError> {
        let tables = &cursor.replica.tables;
        self.now = cursor.now().boot_ns;
        let changes = self.totals.take(tables, fact);
        self.counters(tables, &changes);
        match fact {
            Fact::Event(event) if event.kind == EventKind::Failed => self.failure(tables, event),
            Fact::Exited { proc, .. } => self.ending(tables, *proc, &changes),
            Fact::Notice(notice) => {
                let kind = match notice.kind {
                    NoticeKind::Library => "a library is not understood",
                    NoticeKind::Loss => "history was lost",
                    NoticeKind::Inexact => "numbers may be wrong from here on",
                    NoticeKind::Audit => "an audit corrected a row",
                    NoticeKind::Gap => "a gap in the recording",
                };
                let own = TrackDescriptor {
                    uuid: Some(OWN_TRACK),
                    name: Some("memmon".to_owned()),
                    ..TrackDescriptor::default()
                };
                self.describe(own);
                self.mark(OWN_TRACK, kind, vec![text("text", notice.text.clone())]);
            }
            _ => {}
        }
        self.to.hand_on_if_large()
    }

    fn counters(&mut self, tables: &Tables, changes: &[Change]) {
        for change in changes {
            let Some(track) = self.totals.tracks.get(change.track).cloned() else {
                continue;
            };
            if !tables.is_charged(track.space, track.pool) || !self.totals.takes(tables, &track) {
                continue;
            }
            // Nothing to say of pools that never held anything.
            let uuid = COUNTERS + change.track as u64;
            if track.charged == 0 && !self.described.contains(&uuid) {
                continue;
            }
            self.describe_process(tables, track.proc);
            self.describe(TrackDescriptor {
                uuid: Some(uuid),
                parent_uuid: Some(of_process(track.proc)),
                name: Some(name(tables, &track)),
                counter: Some(CounterDescriptor {
                    unit: Some(UNIT_SIZE_BYTES),
                }),
                ..TrackDescriptor::default()
            });
            self.event(TrackEvent {
                r#type: Some(TYPE_COUNTER),
                track_uuid: Some(uuid),
                counter_value: Some(track.charged.max(0)),
                ..TrackEvent::default()
            });
        }
    }

    fn failure(&mut self, tables: &Tables, event: &Event) {
        let Some(track) = self.totals.of_event(event) else {
            return;
        };
        if !self.totals.takes(tables, track) {
            return;
        }
        let size = Bytes::Human.format(event.requested);
        let what = format!("failed: {size} of {}", name(tables, track));
        self.describe_process(tables, event.proc);
        let about = vec![
            number("requested_bytes", event.requested),
            number("needed_bytes", event.charged),
            number("tid", event.tid.into()),
        ];
        self.mark(of_process(event.proc), &what, about);
    }

    fn ending(&mut self, tables: &Tables, proc: Proc, changes: &[Change]) {
        let held = changes.iter().filter_map(|change| {
            let track = self.totals.tracks.get(change.track)?;
            let counts = tables.is_charged(track.space, track.pool)
                && change.before > 0
                && self.totals.takes(tables, track);
            counts.then(|| number(&name(tables, track), change.before.unsigned_abs()))
        });
        let held: Vec<_> = held.collect();
        if !held.is_empty() {
            self.mark(of_process(proc), "ended holding memory", held);
        }
    }

    fn describe_process(&mut self, tables: &Tables, proc: Proc) {
        let Some(facts) = tables.facts_of(proc) else {
            return;
        };
        self.describe(TrackDescriptor {
            uuid: Some(of_process(proc)),
            process: Some(ProcessDescriptor {
                pid: i32::try_from(facts.pid).ok(),
                cmdline: facts.command.clone(),
                process_name: Some(facts.comm.clone()),
            }),
            ..TrackDescriptor::default()
        });
    }

    /// Once each.
    fn describe(&mut self, track: TrackDescriptor) {
        if self.described.insert(track.uuid.unwrap_or_default()) {
            let packet = self.packet(Data::TrackDescriptor(track));
            put(&packet, &mut self.to.bytes);
        }
    }

    fn mark(&mut self, track: u64, name: &str, about: Vec<DebugAnnotation>) {
        self.event(TrackEvent {
            r#type: Some(TYPE_INSTANT),
            track_uuid: Some(track),
            categories: vec!["memmon".to_owned()],
            name: Some(name.to_owned()),
            debug_annotations: about,
            ..TrackEvent::default()
        });
    }

    fn event(&mut self, event: TrackEvent) {
        let packet = self.packet(Data::TrackEvent(event));
        put(&packet, &mut self.to.bytes);
    }

    fn packet(&self, data: Data) -> TracePacket {
        TracePacket {
            timestamp: Some(self.now),
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: None,
            data: Some(data),
        }
    }
}

/// Where the numbers of counters begin; those of processes have the highest bit, as some of their
/// own numbers have, so that it is moved away.
const COUNTERS: u64 = 1 << 32;

fn of_process(proc: Proc) -> u64 {
    proc.rotate_left(1) | 1 << 63
}

/// `cuda:0 DEVICE`
fn name(tables: &Tables, track: &Track) -> String {
    let device = pools::device_ids(&tables.runtime_name(track.space), &[track.device.id]);
    format!("{device} {}", tables.pool_name(track.space, track.pool))
}

fn number(name: &str, value: u64) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        uint_value: Some(value),
        string_value: None,
    }
}

fn text(name: &str, value: String) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        uint_value: None,
        string_value: Some(value),
    }
}
