use super::super::testing::{Stage, eventful};
use super::*;
use crate::views::sample;

fn keys(page: &mut EventsPage, stage: &Stage, keys: &str) {
    for key in keys.chars() {
        page.key(Key::Char(key), &stage.ctx());
    }
}

#[test]
fn committed_frames() {
    let stage = Stage::new(eventful());
    let mut page = EventsPage::default();
    stage.check(&mut page, "events", 140, 24);
    keys(&mut page, &stage, "j");
    stage.check(&mut page, "events_failure", 140, 24);
    stage.check(&mut page, "events", 60, 20);
    stage.check(&mut page, "events", 40, 8);
    keys(&mut page, &stage, "ff");
    stage.check(&mut page, "events_ends", 100, 20);
}

#[test]
fn ascii_is_ascii() {
    let stage = Stage::new(eventful()).ascii();
    let mut page = EventsPage::default();
    keys(&mut page, &stage, "f");
    let frame = stage.words(&mut page, 100, 20);
    assert!(frame.is_ascii(), "{frame}");
    stage.check(&mut page, "events_ascii", 100, 20);
}

#[test]
fn what_is_new_is_counted_until_it_is_looked_at() {
    let mut stage = Stage::new(eventful());
    let mut page = EventsPage::default();
    assert_eq!(page.title(&stage.ctx()), "events (5)");
    stage.frame(&mut page, 100, 20);
    assert_eq!(page.title(&stage.ctx()), "events");
    let mut failure = stage.snapshot.failures[1].clone();
    (failure.number, failure.at) = (3, "2026-01-31T12:00:00Z".into());
    stage.snapshot.failures.push(failure);
    assert_eq!(page.title(&stage.ctx()), "events (1)");
    assert_eq!(page.unseen(&sample::empty()), 0);
}

#[test]
fn the_selection_stays_with_its_event() {
    let mut stage = Stage::new(eventful());
    let mut page = EventsPage::default();
    keys(&mut page, &stage, "jjj");
    let words = stage.words(&mut page, 140, 24);
    assert!(
        words.contains("no room: 1.17 GiB asked, 300 MiB free\nby process 512 pytest, thread 519"),
        "{words}"
    );
    let mut failure = stage.snapshot.failures[1].clone();
    (failure.number, failure.at) = (3, "2026-01-31T12:00:00Z".into());
    stage.snapshot.failures.push(failure);
    assert_eq!(
        stage
            .words(&mut page, 140, 24)
            .matches("thread 519")
            .count(),
        1
    );
    assert!(stage.words(&mut page, 140, 24).contains("\nno room"));
    assert_eq!(
        page.key(Key::Enter, &stage.ctx()),
        Reaction::Open(Open::Process(ProcessId::of(&stage.snapshot.processes[1])))
    );
}

#[test]
fn one_kind_at_a_time() {
    let stage = Stage::new(eventful());
    let mut page = EventsPage::default();
    let mut seen = Vec::new();
    for _ in Kind::choices() {
        seen.push(page.entries(&stage.ctx()).len());
        keys(&mut page, &stage, "f");
    }
    assert_eq!(seen, [5, 2, 1, 1, 1]);
    assert_eq!(page.kind, None);
    stage.frame(&mut page, 140, 24);
    let (kind, area) = page.drawn.tabs[3];
    assert_eq!(kind, Some(Kind::Library));
    page.mouse(
        MouseEvent {
            kind: MouseKind::Press,
            column: area.x,
            row: area.y,
        },
        &stage.ctx(),
    );
    let words = stage.words(&mut page, 140, 24);
    assert!(words.contains(r"no layout table\x1b[2J matches"), "{words}");
    let empty = Stage::new(sample::busy());
    let words = empty.words(&mut page, 100, 20);
    assert!(words.contains("Nothing happened"), "{words}");
}

#[test]
fn any_size_will_do() {
    let stage = Stage::new(eventful());
    let mut page = EventsPage::default();
    for (width, height) in [(1, 1), (3, 3), (10, 4), (24, 6), (300, 2), (20, 100)] {
        for _ in 0..6 {
            stage.frame(&mut page, width, height);
            keys(&mut page, &stage, "jfG");
        }
    }
}
