//! What a daemon tells, or a recording holds: facts of any kind, in any order, as JSON.
use crate::views;
use memmon::tables::{Batch, Fact, Replica, live::LiveAsk};

pub fn run(data: &[u8]) {
    // One fact a line.
    let lines = data.split(|byte| *byte == b'\n');
    let facts: Vec<Fact> = lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let mut replica = Replica::default();
    for some in facts.chunks(3) {
        let batch = Batch {
            facts: some.to_vec(),
            epoch_ns: 5,
            boot_ns: 3,
        };
        let text = serde_json::to_vec(&batch).expect("facts can be written");
        let again: Batch = serde_json::from_slice(&text).expect("and read");
        assert!(again == batch, "{again:?}\n{batch:?}");
        replica.apply(&batch);
    }
    let snapshot = replica.snapshot("2026-01-31T12:00:00Z".to_owned());
    views::show(&snapshot);
    replica.tables.live_list(
        replica.live.iter().copied(),
        &LiveAsk::default(),
        0,
        String::new(),
    );
    // Whoever follows from here on sees the same.
    let checkpoint = Batch {
        facts: replica.tables.checkpoint(),
        ..Batch::default()
    };
    let text = serde_json::to_vec(&checkpoint).expect("facts can be written");
    let late = Replica::of(&serde_json::from_slice(&text).expect("and read"));
    let seen = late.snapshot("2026-01-31T12:00:00Z".to_owned());
    assert!(seen == snapshot, "late: {seen:#?}\nin time: {snapshot:#?}");
}
