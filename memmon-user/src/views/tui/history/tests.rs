use super::*;
use crate::views::sample;

/// The busy machine, so many seconds past noon, with so much in the first row of its first process.
fn at(seconds: u64, charged: u64, allocations: u64) -> Snapshot {
    let mut snapshot = sample::busy();
    snapshot.taken_at = format!("2026-01-31T12:{:02}:{:02}.000Z", seconds / 60, seconds % 60);
    let row = &mut snapshot.processes[0].usage.as_mut().unwrap()[0];
    row.charged_bytes = Some(charged);
    row.allocations = Some(allocations);
    snapshot.devices[0].pools[0].charged_bytes = Some(charged);
    snapshot
}

fn row<'a>(history: &'a History, snapshot: &Snapshot) -> &'a RowPast {
    let process = &snapshot.processes[0];
    history
        .row(process, &process.usage.as_ref().unwrap()[0])
        .unwrap()
}

#[test]
fn the_last_minutes_of_a_process_and_of_a_device() {
    let mut history = History::default();
    for second in 0..600 {
        history.take(&at(second, second * 10, second * 3));
    }
    let now = at(599, 0, 0);
    let spans = |series| history.spans(series, Duration::from_secs(100), 7);
    // Spans begin at multiples of their length, counted from a quarter of an hour before noon.
    let own = spans(&row(&history, &now).charged);
    assert_eq!(own.len(), 7);
    assert_eq!(own.last(), Some(&Some(5990)));
    assert!(own.is_sorted(), "it only grew: {own:?}");
    let device = history.pool(&now.devices[0], "DRAM").unwrap();
    assert_eq!(spans(device), own, "as the process that holds it all");
    assert_eq!(row(&history, &now).rate, Some(3.0));
}

#[test]
fn a_rate_is_of_the_time_between_two_looks() {
    let mut history = History::default();
    history.take(&at(0, 1, 1000));
    let now = at(10, 1, 1000);
    assert_eq!(row(&history, &now).rate, None, "nothing to compare with");
    history.take(&at(2, 1, 1500));
    assert_eq!(row(&history, &now).rate, Some(250.0));
    history.take(&at(3, 1, 1500));
    assert_eq!(row(&history, &now).rate, Some(0.0));
}

#[test]
fn another_process_of_the_same_number_has_a_past_of_its_own() {
    let mut history = History::default();
    history.take(&at(0, 77, 1));
    let mut next = at(1, 5, 1);
    next.processes[0].start_time = Some("2026-01-31T12:00:01Z".into());
    history.take(&next);
    let charged = &row(&history, &next).charged;
    let seen = history.spans(charged, Duration::from_secs(1), 3);
    assert_eq!(seen, [None, None, Some(5)]);
    assert!(history.rows(&at(1, 5, 1).processes[0]).is_empty());
}

#[test]
fn what_is_gone_is_not_held_any_more() {
    let mut history = History::default();
    history.take(&at(0, 77, 1));
    let mut without = at(5, 0, 0);
    without.processes.remove(0);
    history.take(&without);
    let charged = &row(&history, &at(0, 0, 0)).charged;
    let seen = history.spans(charged, Duration::from_secs(1), 7);
    let seen = [seen[0], seen[1], seen[5], seen[6]];
    assert_eq!(
        seen,
        [None, Some(77), Some(77), None],
        "not a moment longer"
    );
}

#[test]
fn time_may_go_back_and_leap() {
    let mut history = History::default();
    for second in [0, 10, 20, 30] {
        history.take(&at(second, second + 1, second));
    }
    history.take(&at(15, 500, 15));
    let seen = |history: &History, count| {
        let charged = &row(history, &at(0, 0, 0)).charged;
        history.spans(charged, Duration::from_secs(5), count)
    };
    assert_eq!(
        seen(&history, 4),
        [Some(1), Some(1), Some(11), Some(500)],
        "what came later is forgotten"
    );
    history.take(&at(600, 7, 16));
    assert_eq!(seen(&history, 3), [None, None, Some(7)], "a leap is a gap");
    // Before all that is known.
    let mut early = at(0, 9, 0);
    early.taken_at = "2020-01-01T00:00:00Z".into();
    history.take(&early);
    assert_eq!(seen(&history, 2), [None, Some(9)]);
}

#[test]
fn memory_is_bounded() {
    let mut history = History {
        most_points: 5_000,
        ..History::default()
    };
    let mut snapshot = sample::crowd(100);
    for second in 0..600_u64 {
        snapshot.taken_at = format!("2026-01-31T12:{:02}:{:02}Z", second / 60, second % 60);
        for usage in snapshot
            .processes
            .iter_mut()
            .flat_map(|p| p.usage.iter_mut().flatten())
        {
            usage.charged_bytes = Some(second);
        }
        history.take(&snapshot);
        assert!(history.points <= 5_000);
    }
    let mut counted = 0;
    history.each_series(|series| counted += series.len());
    assert!(counted <= 5_000 && counted > 1_000, "{counted}");
    let process = &snapshot.processes[7];
    let charged = &history.rows(process)[0].charged;
    assert_eq!(
        history.spans(charged, Duration::from_secs(60), 1),
        [Some(599)]
    );
}
