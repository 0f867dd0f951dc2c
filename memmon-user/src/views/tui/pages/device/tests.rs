use std::cell::Cell;

use super::super::testing::{Stage, block, device, list, range};
use super::*;
use crate::views::sample::{self, MIB};

fn page(stage: &Stage, list: LiveList) -> DevicePage {
    let mut page = DevicePage::default();
    page.update(&stage.ctx());
    page.take(list, &stage.ctx());
    page
}

fn keys(page: &mut DevicePage, stage: &Stage, keys: &[Key]) {
    for key in keys {
        page.key(*key, &stage.ctx());
    }
}

fn press(column: u16, row: u16) -> MouseEvent {
    MouseEvent {
        kind: MouseKind::Press,
        column,
        row,
    }
}

#[test]
fn committed_frames() {
    let stage = Stage::new(sample::busy());
    let mut page = page(&stage, list());
    stage.check(&mut page, "device", 140, 30);
    stage.check(&mut page, "device", 60, 20);
    stage.check(&mut page, "device", 40, 8);
    keys(&mut page, &stage, &[Key::Char('l')]);
    stage.check(&mut page, "device_free", 140, 30);
    keys(
        &mut page,
        &stage,
        &[Key::PageDown, Key::Char(']'), Key::Char(']')],
    );
    stage.check(&mut page, "device_block", 140, 30);
}

#[test]
fn without_colors_letters_tell() {
    let stage = Stage::new(sample::busy()).ascii();
    let mut page = page(&stage, list());
    let frame = stage.words(&mut page, 100, 24);
    assert!(frame.is_ascii(), "{frame}");
    stage.check(&mut page, "device_ascii", 100, 24);
}

/// The cells that are drawn, by their signs.
fn share_drawn(page: &mut DevicePage, stage: &Stage, width: u16, height: u16) -> f64 {
    let frame = stage.frame(page, width, height);
    let (drawn, cells) = (Cell::new(0.0), Cell::new(0.0));
    let signs = stage.theme.signs.bar;
    for (_, area) in &page.drawn.lanes {
        for position in area.positions() {
            let sign = frame[position].symbol();
            let eighths = signs.iter().position(|bar| *bar == sign).unwrap_or(0);
            drawn.set(drawn.get() + eighths as f64 / 8.0);
            cells.set(cells.get() + 1.0);
        }
    }
    drawn.get() / cells.get()
}

#[test]
fn the_eye_gets_the_true_share() {
    let stage = Stage::new(sample::busy());
    for (size, count, gap) in [
        (1, 900, 0),
        (3, 100, 7),
        (4096, 2000, 100_000),
        (50 << 20, 15, 1 << 20),
    ] {
        let blocks = (0..count).map(|nth| block(7, MIB + nth * (size + gap), size));
        let list = LiveList {
            allocations: blocks.collect(),
            ranges: vec![range(7)],
            ..LiveList::default()
        };
        let mut page = page(&stage, list);
        let taken = (size * count) as f64 / (1_u64 << 30) as f64;
        for (width, height) in [(140, 30), (80, 24), (33, 11)] {
            let drawn = share_drawn(&mut page, &stage, width, height);
            assert!(
                (drawn - taken).abs() < 0.001,
                "{size} x {count}: {taken} is drawn as {drawn}"
            );
        }
    }
}

#[test]
fn what_one_points_at() {
    let stage = Stage::new(sample::busy());
    let mut page = page(&stage, list());
    stage.frame(&mut page, 140, 30);
    let (nth, area) = page.drawn.lanes[0];
    assert_eq!(page.lanes[nth].pid, 4011);
    page.mouse(press(area.x, area.y), &stage.ctx());
    let words = stage.words(&mut page, 140, 30);
    assert!(
        words.contains("0x100000-0x12d00000 300 MiB x 12 banks = 3.52 GiB"),
        "{words}"
    );
    assert!(words.contains("by 4011 python, 2s ago"), "{words}");
    // Where nothing lies.
    page.mouse(press(area.right() - 1, area.bottom() - 1), &stage.ctx());
    let words = stage.words(&mut page, 140, 30);
    assert!(
        words.contains("0x25800000-0x40100000 free: 425 MiB x 12 banks = 4.98 GiB"),
        "{words}"
    );
    assert_eq!(
        page.key(Key::Enter, &stage.ctx()),
        Reaction::Open(Open::Process(ProcessId::of(&stage.snapshot.processes[0])))
    );
    keys(
        &mut page,
        &stage,
        &[Key::PageDown, Key::End, Key::Char('[')],
    );
    let words = stage.words(&mut page, 140, 30);
    assert!(
        words.contains("by 512 pytest, before it was observed"),
        "{words}"
    );
    assert_eq!(page.key(Key::Esc, &stage.ctx()), Reaction::Draw);
    assert_eq!(page.key(Key::Esc, &stage.ctx()), Reaction::Ignored);
}

#[test]
fn the_cursor_stays_inside_and_gets_everywhere() {
    let stage = Stage::new(sample::busy());
    let mut page = page(&stage, list());
    stage.frame(&mut page, 80, 24);
    let cell = |page: &DevicePage| {
        let (nth, cursor) = page.pointed().unwrap();
        (nth, cursor.cell(&page.lanes[nth], page.drawn.count()))
    };
    keys(&mut page, &stage, &[Key::Right]);
    assert_eq!(cell(&page), (0, 0));
    keys(&mut page, &stage, &[Key::Left, Key::Up]);
    assert_eq!(cell(&page), (0, 0));
    let (columns, count) = (page.drawn.columns, page.drawn.count());
    keys(&mut page, &stage, &[Key::Right, Key::Down]);
    assert_eq!(cell(&page), (0, columns + 1));
    for _ in 0..count {
        keys(&mut page, &stage, &[Key::Right]);
    }
    assert_eq!(cell(&page), (1, columns + 1), "into the next lane");
    for _ in 0..3 * count {
        keys(&mut page, &stage, &[Key::Right]);
    }
    assert_eq!(cell(&page), (1, count - 1));
    keys(&mut page, &stage, &[Key::Down]);
    assert_eq!(cell(&page), (1, count - 1));
    for _ in 0..20 {
        keys(&mut page, &stage, &[Key::Up]);
    }
    assert_eq!(cell(&page), (0, columns - 1));
    let mut found = 0;
    keys(
        &mut page,
        &stage,
        &[Key::PageDown, Key::Home, Key::Char(']')],
    );
    while let Some((nth, cursor)) = page.pointed() {
        let Some(cursor::Under::Block { nth, .. }) = cursor.under(&page.lanes[nth], count) else {
            panic!("no block");
        };
        assert_eq!(nth, found + 1);
        found = nth;
        if found == 20 {
            break;
        }
        keys(&mut page, &stage, &[Key::Char(']')]);
    }
}

#[test]
fn pools_and_devices_go_round() {
    let stage = Stage::new(sample::busy());
    let mut page = page(&stage, list());
    let wanted = |page: &DevicePage| {
        let ask = page.wants().unwrap();
        (ask.device.unwrap().device.unwrap(), ask.pool.unwrap())
    };
    assert_eq!(wanted(&page), (0, "DRAM".into()));
    keys(&mut page, &stage, &[Key::Char('>')]);
    assert_eq!(wanted(&page), (0, "L1".into()));
    assert!(
        stage.words(&mut page, 100, 20).contains("Asking"),
        "what was listed is of another pool"
    );
    page.take(list(), &stage.ctx());
    assert!(
        stage
            .words(&mut page, 100, 20)
            .contains("Nobody has an allocator")
    );
    keys(&mut page, &stage, &[Key::Char('<'), Key::Char('<')]);
    assert_eq!(wanted(&page), (0, "TRACE".into()));
    keys(&mut page, &stage, &[Key::Char('d')]);
    assert_eq!(wanted(&page), (1, "DRAM".into()), "it has no such pool");
    keys(&mut page, &stage, &[Key::Char('d')]);
    assert_eq!(wanted(&page).0, 0);
    stage.frame(&mut page, 100, 20);
    let (_, area) = page.drawn.pools[1];
    page.mouse(press(area.x, area.y), &stage.ctx());
    assert_eq!(wanted(&page), (0, "L1".into()));
}

#[test]
fn what_is_not_known_is_said() {
    let mut stage = Stage::new(sample::busy());
    let mut list = list();
    for range in &mut list.ranges {
        range.base = None;
    }
    (list.omitted, list.omitted_bytes) = (12_345, 3 << 30);
    let mut page = page(&stage, list);
    let words = stage.words(&mut page, 140, 24);
    assert!(words.contains("begins and ends is not known"), "{words}");
    assert!(
        words.contains("12,345 smaller ones (3.00 GiB) are not drawn"),
        "{words}"
    );
    stage.inspectable = false;
    assert!(stage.words(&mut page, 140, 24).contains("there is no map"));
    stage.snapshot.devices.clear();
    assert!(
        stage
            .words(&mut page, 140, 24)
            .contains("No device is in use")
    );
    page.show(device(5));
    assert!(
        stage
            .words(&mut page, 140, 24)
            .contains("Nobody uses this device")
    );
    assert_eq!(page.wants().map(|ask| ask.pool), None);
}

#[test]
fn any_size_will_do() {
    let stage = Stage::new(sample::busy());
    let mut page = page(&stage, list());
    for (width, height) in [
        (1, 1),
        (3, 3),
        (10, 4),
        (24, 6),
        (300, 2),
        (20, 100),
        (300, 100),
    ] {
        stage.frame(&mut page, width, height);
        keys(&mut page, &stage, &[Key::Down, Key::Char(']'), Key::End]);
        stage.frame(&mut page, width, height);
    }
    let crowd: Vec<u32> = (1..200).collect();
    let list = LiveList {
        allocations: crowd
            .iter()
            .map(|pid| block(*pid, MIB, u64::from(*pid) * MIB))
            .collect(),
        ranges: crowd.iter().map(|pid| range(*pid)).collect(),
        ..LiveList::default()
    };
    page.take(list, &stage.ctx());
    let words = stage.words(&mut page, 140, 30);
    assert!(words.contains("of 199"), "{words}");
    assert!(words.contains("more"), "{words}");
    for _ in 0..300 {
        page.scroll(1);
    }
    assert!(
        stage
            .words(&mut page, 140, 30)
            .contains("allocator 199 of 199")
    );
}
