//! A recorded file: bytes of any kind, and whole frames around payloads of any kind.
use std::sync::Arc;

use crate::frames;
use memmon::{
    recording::{Cursor, Moment, Recording},
    tables::Filter,
    views::replay::past,
};

fn bytes(data: &[u8]) -> Vec<u8> {
    if data.starts_with(b"\x89memmon\n") {
        return data.to_vec();
    }
    frames::recording(data)
}

pub fn run(data: &[u8]) {
    let Ok(recording) = Recording::of_bytes(bytes(data)) else {
        return;
    };
    let recording = Arc::new(recording);
    let (start, end) = (recording.start(), recording.end());
    let Ok(cursor) = Cursor::new(recording.clone()) else {
        return;
    };
    // From the beginning to the end…
    let mut facts = 0_u64;
    let Ok(_) = cursor.each(&mut |cursor, _| {
        facts += 1;
        if facts < 16 {
            cursor.replica.snapshot(String::new());
        }
    }) else {
        return;
    };
    // …and to other moments, there and back.
    let Ok(mut cursor) = Cursor::new(recording.clone()) else {
        return;
    };
    for text in ["50%", "end", "+1s", "start", "1970-01-01T00:00:04Z"] {
        let moment: Option<Moment> = text.parse().ok();
        if let Some(at) = moment.and_then(|moment| moment.of(&recording)) {
            assert!((start.boot_ns..=end.boot_ns).contains(&at));
            if cursor.seek(at).is_err() {
                return;
            }
        }
    }
    let middle = recording.events() / 2;
    if cursor.seek_event(middle).is_err() || cursor.seek_event(u64::MAX).is_err() {
        return;
    }
    let mut place = Default::default();
    while let Ok(Some(incident)) = recording.incident_from(place) {
        let _ = cursor.seek_fact(incident.place);
        assert!(incident.place >= place, "it goes backwards");
        place = incident.place.next();
    }
    let _ = past::before(&recording, &Filter::default(), end.boot_ns);
}
