use super::super::testing::{Stage, eventful, list};
use super::*;
use crate::{
    tables::{live::DeviceAsk, snapshot::Snapshot},
    views::{sample, tui::theme::Theme},
};

/// A minute of history.
fn stage() -> Stage {
    let mut stage = Stage::new(eventful());
    let now = stage.snapshot.clone();
    for second in 0..60_u64 {
        let mut then: Snapshot = now.clone();
        then.taken_at = format!("2026-01-31T11:59:{second:02}Z");
        for usage in then
            .processes
            .iter_mut()
            .flat_map(|process| process.usage.iter_mut().flatten())
        {
            usage.charged_bytes = usage.charged_bytes.map(|bytes| bytes / 60 * (second + 1));
        }
        stage.history.take(&then);
    }
    stage.history.take(&now);
    stage
}

fn page(stage: &Stage, nth: usize) -> ProcessPage {
    let mut page = ProcessPage::default();
    page.show(ProcessId::of(&stage.snapshot.processes[nth]));
    page.update(&stage.ctx());
    page.take(list(), &stage.ctx());
    page
}

fn keys(page: &mut ProcessPage, stage: &Stage, keys: &str) {
    for key in keys.chars() {
        page.key(Key::Char(key), &stage.ctx());
    }
}

/// Devices and sizes of two runtimes stand side by side.
fn stage_of_two(stage: &Stage) {
    let mut both = page(stage, 0);
    let mut list = list();
    let one = list.allocations.iter().find(|one| one.pid == 4011).cloned();
    list.allocations.extend(one.map(|one| LiveAllocation {
        runtime: "cuda".into(),
        devices: vec![DeviceAsk {
            runtime: "cuda".into(),
            device: Some(0),
            device_uid: None,
        }],
        ..one
    }));
    both.take(list, &stage.ctx());
    stage.check(&mut both, "process_two_runtimes", 140, 30);
    keys(&mut both, stage, "v");
    stage.check(&mut both, "process_two_runtimes_sizes", 100, 24);
}

#[test]
fn committed_frames() {
    let stage = stage();
    stage.check(&mut page(&stage, 0), "process", 140, 30);
    let two = Stage::new(sample::two_runtimes());
    stage_of_two(&two);
    let mut other = page(&stage, 1);
    stage.check(&mut other, "process_pieces", 140, 30);
    stage.check(&mut other, "process", 60, 20);
    stage.check(&mut other, "process", 40, 8);
    keys(&mut other, &stage, "o");
    stage.check(&mut other, "process_oldest", 100, 24);
    keys(&mut other, &stage, "v");
    stage.check(&mut other, "process_sizes", 100, 24);
    keys(&mut other, &stage, "v");
    stage.check(&mut other, "process_failures", 140, 24);
}

#[test]
fn ascii_is_ascii() {
    let stage = Stage {
        theme: Theme::new(false, true),
        ..stage()
    };
    let mut page = page(&stage, 1);
    for _ in 0..3 {
        let frame = stage.words(&mut page, 120, 30);
        assert!(frame.is_ascii(), "{frame}");
        keys(&mut page, &stage, "v");
    }
    stage.check(&mut page, "process_ascii", 100, 24);
}

fn shown(page: &ProcessPage) -> Vec<u64> {
    let all = page.allocations();
    page.order.iter().map(|nth| all[*nth].address).collect()
}

#[test]
fn the_largest_the_oldest_and_any_column() {
    let stage = stage();
    let mut page = page(&stage, 1);
    assert_eq!(page.allocations().len(), 21, "its own only");
    let largest = shown(&page)[0];
    keys(&mut page, &stage, "o");
    assert_eq!(
        page.selected_allocation().and_then(|one| one.age_ns),
        None,
        "recovered ones are the oldest"
    );
    keys(&mut page, &stage, "b");
    assert_eq!(shown(&page)[0], largest);
    keys(&mut page, &stage, "r");
    assert_eq!(shown(&page).last(), Some(&largest));
    stage.frame(&mut page, 140, 30);
    let (column, area) = page.drawn.columns[0];
    assert_eq!(column, Column::Address);
    let press = |column: u16, row: u16| MouseEvent {
        kind: MouseKind::Press,
        column,
        row,
    };
    page.mouse(press(area.x, area.y), &stage.ctx());
    assert!(shown(&page).is_sorted());
    page.mouse(press(area.x, area.y + 3), &stage.ctx());
    assert_eq!(page.selected, 2);
    let selected = page.selected_allocation().cloned();
    let mut next = list();
    next.allocations
        .retain(|one| one.address != shown(&page)[0]);
    page.take(next, &stage.ctx());
    assert_eq!(
        page.selected_allocation().cloned(),
        selected,
        "it follows what it points at"
    );
    assert_eq!(page.selected, 1);
    assert!(
        matches!(page.key(Key::Enter, &stage.ctx()), Reaction::Open(Open::Device(device)) if device.device == Some(0))
    );
}

#[test]
fn a_leak_shows() {
    let stage = stage();
    let mut page = page(&stage, 1);
    let mut later = list();
    let one = later
        .allocations
        .iter()
        .find(|one| one.pid == 512)
        .unwrap()
        .clone();
    for nth in 1..=40 {
        later.allocations.push(LiveAllocation {
            address: one.address + nth,
            ..one.clone()
        });
    }
    page.take(later, &stage.ctx());
    keys(&mut page, &stage, "v");
    let words = stage.words(&mut page, 100, 24);
    let line = words
        .lines()
        .find(|line| line.contains("+40"))
        .unwrap_or_default();
    assert!(line.contains(" 41 "), "{words}");
}

#[test]
fn what_there_is_to_say_of_others() {
    let mut stage = stage();
    for (nth, expected) in [
        (2, "Its library is not understood"),
        (3, "Nothing is allocated"),
        (4, "It holds nothing"),
    ] {
        let mut page = page(&stage, nth);
        let words = stage.words(&mut page, 100, 20);
        assert!(words.contains(expected), "{words}");
    }
    let mut gone = page(&stage, 0);
    let mut cut = list();
    (cut.omitted, cut.omitted_bytes) = (99, 5 << 20);
    gone.take(cut, &stage.ctx());
    let words = stage.words(&mut gone, 100, 20);
    assert!(words.contains("102 allocations"), "{words}");
    assert!(
        words.contains("the 99 smallest (5.00 MiB) are not listed"),
        "{words}"
    );
    stage.snapshot.processes.clear();
    assert!(
        stage
            .words(&mut gone, 100, 20)
            .contains("It ended, and is no longer remembered")
    );
    assert_eq!(gone.title(&stage.ctx()), "process 4011");
    let mut nobody = ProcessPage::default();
    assert_eq!(nobody.wants(), None);
    assert!(
        stage
            .words(&mut nobody, 100, 20)
            .contains("Select a process")
    );
}

#[test]
fn another_process_of_the_same_number_has_its_own_failures() {
    let mut stage = stage();
    stage.snapshot.processes[1].start_time = Some("2026-01-31T11:59:50Z".into());
    let page = page(&stage, 1);
    let numbers: Vec<u64> = page
        .failures(&stage.ctx())
        .iter()
        .map(|failure| failure.number)
        .collect();
    assert_eq!(numbers, [2]);
}

#[test]
fn any_size_will_do() {
    let mut stage = Stage::new(eventful());
    stage.snapshot.processes[0] = sample::hostile();
    let mut page = page(&stage, 0);
    for (width, height) in [
        (1, 1),
        (3, 3),
        (10, 4),
        (24, 6),
        (300, 2),
        (20, 100),
        (300, 100),
    ] {
        for _ in 0..3 {
            let words = stage.words(&mut page, width, height);
            assert!(!words.contains('\u{1b}'));
            keys(&mut page, &stage, "vG");
        }
    }
}
