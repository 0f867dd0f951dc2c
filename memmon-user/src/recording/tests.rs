//! Recordings of a made-up observation: whole, cut off anywhere, and damaged anywhere.

use std::sync::Arc;

use memmon_ebpf::ledger::{RowKey, RowValue};
use proptest::prelude::*;

use super::{Cursor, Meta, Recording, Writer, order, payload};
use crate::tables::{
    Batch, Fact, Replica,
    event::{Event, EventKind},
    facts::{DeviceFacts, OwnerId, Placement, PoolFacts, ProcessFacts, RuntimeFacts},
    live::LiveEntry,
    snapshot::{Failure, Observer},
};

const SECOND: u64 = 1_000_000_000;

fn batch(boot_ns: u64, facts: Vec<Fact>) -> Batch {
    Batch {
        epoch_ns: boot_ns + 1_000_000 * SECOND,
        boot_ns,
        facts,
    }
}

fn row(owner: u64) -> RowKey {
    RowKey {
        proc: 7,
        owner,
        pool: 1,
        ..RowKey::default()
    }
}

fn event(kind: EventKind, time_ns: u64, sequence: u32, key: u64, charged: u64) -> Event {
    Event {
        kind,
        time_ns,
        proc: 7,
        pid: 70,
        tid: 71,
        key,
        row: row(1),
        sequence,
        requested: charged / 2,
        charged,
        address: key * 4096,
    }
}

fn start() -> Batch {
    let pool = PoolFacts {
        name: "DRAM".to_owned(),
        charged: true,
    };
    let runtime = RuntimeFacts {
        name: "test".to_owned(),
        pools: [(1, pool)].into(),
    };
    batch(
        SECOND,
        vec![
            Fact::Start {
                host: "here".to_owned(),
                observer: Observer::default(),
                runtimes: vec![runtime],
            },
            Fact::Process {
                proc: 7,
                facts: Box::new(ProcessFacts {
                    pid: 70,
                    comm: "test".to_owned(),
                    ..ProcessFacts::default()
                }),
            },
            Fact::Live(Vec::new()),
        ],
    )
}

/// A second of one allocation after the other, and as many frees.
fn batches(seconds: u64, each: u64) -> Vec<Batch> {
    let mut sequence = 0;
    let mut all = Vec::new();
    for second in 0..seconds {
        let begin = (second + 1) * SECOND;
        let mut facts = Vec::new();
        for at in 0..each {
            let time = begin + at * 1000 + 1;
            sequence += 1;
            // No two are alike.
            let key = (second * each + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
            facts.push(Fact::Event(event(
                EventKind::Alloc,
                time,
                sequence,
                key,
                64,
            )));
            if at % 8 != 0 {
                sequence += 1;
                facts.push(Fact::Event(event(
                    EventKind::Free,
                    time + 500,
                    sequence,
                    key,
                    64,
                )));
            }
        }
        all.push(batch(begin + SECOND, facts));
    }
    all
}

fn record(batches: &[Batch]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), &Meta::default(), &start()).unwrap();
    for batch in batches {
        writer.take(Arc::new(batch.clone()));
        writer.flush().unwrap();
    }
    writer.finish().unwrap();
    std::mem::take(writer.out())
}

fn charged(cursor: &Cursor) -> u64 {
    let snapshot = cursor.replica.snapshot(String::new());
    let usage = snapshot.processes.first().and_then(|p| p.usage.as_ref());
    usage
        .and_then(|rows| rows.first())
        .map_or(0, |row| row.charged_bytes.unwrap())
}

fn open(bytes: Vec<u8>) -> Cursor {
    Cursor::new(Arc::new(Recording::of_bytes(bytes).unwrap())).unwrap()
}

/// What the events say, one by one.
fn truth(batches: &[Batch], until: impl Fn(usize, &Event) -> bool) -> u64 {
    let events = batches
        .iter()
        .flat_map(|b| &b.facts)
        .filter_map(|f| match f {
            Fact::Event(event) => Some(event),
            _ => None,
        });
    let taken = events
        .enumerate()
        .take_while(|(at, event)| until(*at, event));
    taken.fold(0, |sum, (_, event)| match event.kind {
        EventKind::Alloc => sum + event.charged,
        EventKind::Free => sum - event.charged,
        _ => sum,
    })
}

#[test]
fn every_moment_and_every_event() {
    let told = batches(60, 40);
    let mut cursor = open(record(&told));
    let events = cursor.recording().events();
    for step in [1, 7, 999, 1000, 30, events, 0, 2, 1, events - 1] {
        cursor.seek_event(step).unwrap();
        assert_eq!(cursor.events(), step);
        assert_eq!(charged(&cursor), truth(&told, |at, _| (at as u64) < step));
    }
    for moment in [
        59 * SECOND,
        SECOND + 12_345,
        30 * SECOND,
        30 * SECOND + 777,
        61 * SECOND,
    ] {
        cursor.seek(moment).unwrap();
        assert_eq!(cursor.now().boot_ns, moment);
        let truth = truth(&told, |_, event| event.time_ns <= moment);
        assert_eq!(charged(&cursor), truth, "at {moment}");
        let live: u64 = cursor.replica.live.iter().map(|entry| entry.charged).sum();
        assert_eq!(live, truth);
    }
}

/// Large enough for keyframes: they change nothing but the way.
/// The wall clock is set back by an hour, then forward by two: everything is found by the time
/// since boot, and times on the wall by the clock that showed them.
#[test]
fn a_clock_that_is_set() {
    const HOUR: u64 = 3600 * SECOND;
    let mut told = batches(60, 40);
    for (at, batch) in told.iter_mut().enumerate() {
        match at {
            0..20 => {}
            20..40 => batch.epoch_ns -= HOUR,
            _ => batch.epoch_ns += HOUR,
        }
    }
    let mut cursor = open(record(&told));
    let recording = cursor.recording().clone();
    assert_eq!(recording.events(), truth_count(&told));
    assert_eq!(recording.notes().len(), 2, "{:?}", recording.notes());
    assert!(recording.notes()[0].contains("back by 3600.0 s"));
    assert!(recording.notes()[1].contains("forward by 7200.0 s"));
    let last = told.last().unwrap();
    assert_eq!(recording.end().boot_ns, last.boot_ns);
    // Not in order: it must go back, too.
    for at in [0, 19, 20, 21, 39, 40, 41, 59, 30, 10, 50, 20] {
        // A moment in the middle of the batch's second, as the wall clock showed it.
        let told_at = &told[at];
        let boot_ns = told_at.boot_ns - SECOND / 2;
        let moment = super::Moment::At(told_at.epoch_of(boot_ns));
        assert_eq!(moment.of(&recording), Some(boot_ns), "second {at}");
        cursor.seek(boot_ns).unwrap();
        assert_eq!(cursor.now().boot_ns, boot_ns, "second {at}");
        let held = truth(&told, |_, event| event.time_ns <= boot_ns);
        assert_eq!(charged(&cursor), held, "second {at}");
    }
    // A time that the clock left out is when it was set; and some times never were.
    let left_out = super::Moment::At(told[39].epoch_ns + HOUR / 2);
    assert_eq!(left_out.of(&recording), Some(told[39].boot_ns));
    for never in [told[20].epoch_ns - 10 * SECOND, last.epoch_ns + SECOND] {
        assert_eq!(super::Moment::At(never).of(&recording), None);
    }
    // By the number of events, too.
    for count in [1000, 3000, 500] {
        cursor.seek_event(count).unwrap();
        assert_eq!(cursor.events(), count);
        assert_eq!(charged(&cursor), truth(&told, |at, _| at < count as usize));
    }
}

/// A clock that is only steered is none that is set, however long nothing was told.
#[test]
fn a_clock_that_is_steered() {
    let mut told = batches(2, 40);
    told[1].boot_ns += 10_000 * SECOND;
    told[1].epoch_ns += 10_004 * SECOND;
    let recording = Recording::of_bytes(record(&told)).unwrap();
    assert!(recording.notes().is_empty(), "{:?}", recording.notes());
}

#[test]
fn keyframes_are_the_state() {
    let told: Vec<Batch> = batches(200, 400);
    let bytes = record(&told);
    let recording = Arc::new(Recording::of_bytes(bytes).unwrap());
    let keyframes = recording
        .frames()
        .iter()
        .filter(|frame| frame.header.kind == super::format::FrameKind::Keyframe);
    assert!(keyframes.count() > 1);
    let mut there = Cursor::new(recording.clone()).unwrap();
    for second in [3, 50, 90, 120, 180, 20] {
        let moment = second * SECOND + 1_234_567;
        there.seek(moment).unwrap();
        let mut fresh = Replica::of(&start());
        for batch in told.iter().filter(|batch| batch.boot_ns <= moment) {
            fresh.apply(batch);
        }
        let rest = told.iter().find(|batch| batch.boot_ns > moment).unwrap();
        for fact in &rest.facts {
            if matches!(fact, Fact::Event(event) if event.time_ns <= moment) {
                fresh.apply_fact(fact);
            }
        }
        fresh.tables.raise_peaks();
        let at = String::new();
        assert_eq!(there.replica.snapshot(at.clone()), fresh.snapshot(at));
        let sorted = |live: &crate::tables::live::Live| {
            let mut all: Vec<LiveEntry> = live.iter().copied().collect();
            all.sort_by_key(LiveEntry::id);
            all
        };
        assert_eq!(sorted(&there.replica.live), sorted(&fresh.live));
    }
}

#[test]
fn cut_off_at_every_byte() {
    let told = batches(20, 5);
    let whole = record(&told);
    let mut last = 0;
    for end in 0..=whole.len() {
        let Ok(recording) = Recording::of_bytes(whole[..end].to_vec()) else {
            assert_eq!(last, 0, "at {end} there is less than before");
            continue;
        };
        assert_eq!(recording.notes().is_empty(), end == whole.len());
        let events = recording.events();
        assert!(events >= last);
        last = events;
        let mut cursor = Cursor::new(Arc::new(recording)).unwrap();
        cursor.seek(u64::MAX).unwrap();
        assert_eq!(charged(&cursor), truth(&told, |at, _| (at as u64) < events));
    }
    assert_eq!(last, truth_count(&told));
}

fn truth_count(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.facts.len() as u64).sum()
}

/// A bit that is wrong is found, wherever it is; what is shown all the same is true.
#[test]
fn damaged_at_every_byte() {
    let told = batches(12, 5);
    let whole = record(&told);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok(recording) = Recording::of_bytes(bytes) else {
            continue;
        };
        assert!(!recording.notes().is_empty(), "byte {at} is not missed");
        let events = recording.events();
        let mut cursor = Cursor::new(Arc::new(recording)).unwrap();
        cursor.seek(u64::MAX).unwrap();
        assert_eq!(charged(&cursor), truth(&told, |at, _| (at as u64) < events));
    }
}

/// The middle is damaged: what comes after the next keyframe is there.
#[test]
fn behind_the_damage() {
    let told = batches(200, 400);
    let mut bytes = record(&told);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut cursor = open(bytes);
    assert_eq!(cursor.recording().notes().len(), 1);
    cursor.seek(u64::MAX).unwrap();
    assert_eq!(charged(&cursor), truth(&told, |_, _| true));
    let known = cursor.recording().events();
    assert!(known < truth_count(&told) && known > truth_count(&told) / 2);
    cursor.seek(3 * SECOND).unwrap();
    assert_eq!(
        charged(&cursor),
        truth(&told, |_, event| event.time_ns <= 3 * SECOND)
    );
}

/// An allocator that is closed at once overtakes its history; a failure comes with its event.
#[test]
fn what_overtook_goes_back() {
    let owner = OwnerId {
        proc: 7,
        space: 0,
        owner: 1,
    };
    let failure = Failure {
        number: 1,
        ..Failure::default()
    };
    let told = vec![
        batch(80, vec![Fact::FreedAll { owner, ended: 0 }]),
        batch(
            900,
            vec![
                Fact::Event(event(EventKind::Alloc, 50, 1, 1, 64)),
                // Two processors, out of order.
                Fact::Event(event(EventKind::Alloc, 71, 3, 3, 64)),
                Fact::Event(event(EventKind::Alloc, 72, 2, 2, 64)),
                Fact::Event(event(EventKind::Failed, 300, 4, 0, 1 << 40)),
                Fact::Failure(Box::new(failure.clone())),
                Fact::Row {
                    key: row(1),
                    value: RowValue::default(),
                },
            ],
        ),
    ];
    let ordered = order::by_time(told);
    let [first, second] = ordered.as_slice() else {
        panic!("{ordered:?}");
    };
    let sequences: Vec<u32> = first
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Event(event) => Some(event.sequence),
            _ => None,
        })
        .collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert!(matches!(first.facts.last(), Some(Fact::FreedAll { .. })));
    assert!(matches!(
        second.facts.as_slice(),
        [Fact::Event(_), Fact::Failure(_), Fact::Row { .. }]
    ));
}

/// Who it is and where its memory lies was found out late: it holds from the first event on.
#[test]
fn what_was_found_out_late_goes_back() {
    let owner = OwnerId {
        proc: 7,
        space: 0,
        owner: 1,
    };
    let process = Fact::Process {
        proc: 7,
        facts: Box::default(),
    };
    let placement = Fact::Placement {
        owner,
        ogen: 0,
        placement: Placement {
            devices: vec![DeviceFacts::default()],
            ..Placement::default()
        },
    };
    let told = vec![
        batch(40, vec![]),
        batch(80, vec![]),
        batch(120, vec![process.clone()]),
        batch(
            900,
            vec![Fact::Event(event(EventKind::Alloc, 50, 1, 1, 64))],
        ),
        batch(950, vec![placement.clone()]),
    ];
    // Not written before it is known.
    let mut writer = Writer::begin(Vec::new(), &Meta::default(), &start()).unwrap();
    let complete: Vec<bool> = told
        .iter()
        .map(|batch| writer.take(Arc::new(batch.clone())))
        .collect();
    assert_eq!(complete, [false, false, false, false, true]);

    let ordered = order::by_time(told);
    let facts: Vec<usize> = ordered.iter().map(|batch| batch.facts.len()).collect();
    assert_eq!(facts, [0, 3, 0, 0, 0]);
    let facts = &ordered[1].facts;
    assert_eq!(facts[..2], [process, placement]);
    assert!(matches!(facts[2], Fact::Event(_)));
}

/// What a row says that events have said already is not written; what they have not said is.
#[test]
fn rows_heal_what_was_lost() {
    let mut told = batches(2, 3);
    let lost = RowValue {
        charged: 6400,
        requested: 3200,
        live: 100,
        allocations: 200,
        frees: 100,
        sequence: 300,
        ..RowValue::default()
    };
    if let Some(last) = told.last_mut() {
        last.facts.push(Fact::Row {
            key: row(1),
            value: lost,
        });
    }
    let mut cursor = open(record(&told));
    cursor.seek(u64::MAX).unwrap();
    assert_eq!(charged(&cursor), 6400);
}

fn any_event() -> impl Strategy<Value = Event> {
    let ids = (0..3_u64, any::<u32>(), 0..3_u32, 0..4_u64, 0..2_u32);
    let values = (
        any::<u64>(),
        any::<u32>(),
        0..9_u64,
        any::<u64>(),
        any::<u64>(),
    );
    let kind = prop_oneof![
        Just(EventKind::Alloc),
        Just(EventKind::Free),
        Just(EventKind::Failed),
        Just(EventKind::UnknownFree),
        Just(EventKind::Register),
    ];
    (kind, ids, values).prop_map(
        |(kind, (proc, pid, tid, owner, ogen), (time_ns, sequence, key, charged, address))| Event {
            kind,
            time_ns,
            proc,
            pid,
            tid,
            key,
            row: RowKey {
                proc,
                owner,
                ogen,
                ..RowKey::default()
            },
            sequence,
            requested: charged / 3,
            charged,
            address,
        },
    )
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let live =
        (any::<u64>(), any::<u64>(), any::<u32>()).prop_map(|(key, address, tid)| LiveEntry {
            key,
            address,
            tid,
            proc: key % 3,
            charged: address / 7,
            since_ns: key / 5,
            ..LiveEntry::default()
        });
    prop_oneof![
        any_event().prop_map(Fact::Event),
        any::<u64>().prop_map(|proc| Fact::Forget { proc }),
        prop::collection::vec(live, 0..5).prop_map(Fact::Live),
        (any::<i64>(), any::<u64>()).prop_map(|(charged, sequence)| Fact::Row {
            key: row(3),
            value: RowValue {
                charged,
                sequence,
                ..RowValue::default()
            },
        }),
    ]
}

proptest! {
    #[test]
    fn batches_come_back(
        told in prop::collection::vec(
            (any::<u64>(), any::<u64>(), prop::collection::vec(any_fact(), 0..20)),
            0..5,
        )
    ) {
        let told: Vec<Batch> = told
            .into_iter()
            .map(|(epoch_ns, boot_ns, facts)| Batch { epoch_ns, boot_ns, facts })
            .collect();
        let bytes = payload::write(&told).unwrap();
        prop_assert_eq!(payload::read(&bytes).unwrap(), (told, 0));
    }

    /// Whatever the bytes are, there is an answer.
    #[test]
    fn no_bytes_are_trusted(bytes in prop::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>()) {
        let _ = payload::read(&bytes);
        let mut sound = payload::write(&batches(2, 9)).unwrap();
        let at = at.index(sound.len());
        let end = (at + bytes.len().min(3)).min(sound.len());
        sound[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = payload::read(&sound);
        // Proved whole, and senseless all the same.
        let mut file = super::format::file_header(&Meta::default()).unwrap();
        let packed = payload::compress(&sound).unwrap();
        let header = super::format::FrameHeader {
            kind: super::format::FrameKind::Keyframe,
            flags: 0,
            parts: 0,
            length: packed.len() as u32,
            unpacked: sound.len() as u32,
            checksum: crc32fast::hash(&packed),
            events: 0,
            boot_ns: 1,
            epoch_ns: 1,
        };
        file.extend(header.bytes());
        file.extend(packed);
        let recording = Arc::new(Recording::of_bytes(file).unwrap());
        if let Ok(mut cursor) = Cursor::new(recording) {
            let _ = cursor.seek(u64::MAX);
        }
    }
}
