use ratatui::style::Color;

use super::column::Column;
use super::order::Order;
use super::*;
use crate::tables::snapshot::Snapshot;
use crate::views::tui::{history::History, theme::Theme, units::Units};
use crate::views::{pools, sample};

/// The page, and what it looks at.
struct Seen {
    snapshot: Snapshot,
    history: History,
    page: Overview,
    screen: Buffer,
}

impl Seen {
    fn of(snapshot: Snapshot) -> Self {
        let mut seen = Self {
            snapshot,
            history: History::default(),
            page: Overview::default(),
            screen: Buffer::empty(Rect::new(0, 0, 140, 30)),
        };
        seen.with(|page, ctx| page.update(ctx));
        seen.draw(140, 30);
        seen
    }

    fn with<T>(&mut self, what: impl FnOnce(&mut Overview, &Context<'_>) -> T) -> T {
        let ctx = Context {
            snapshot: &self.snapshot,
            history: &self.history,
            theme: Theme::new(true, false),
            units: Units::Auto,
            inspectable: true,
            many_runtimes: pools::has_many_runtimes(&self.snapshot),
        };
        what(&mut self.page, &ctx)
    }

    fn show(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
        self.with(|page, ctx| page.update(ctx));
    }

    fn draw(&mut self, width: u16, height: u16) {
        let area = Rect::new(0, 0, width, height);
        let mut screen = Buffer::empty(area);
        self.with(|page, ctx| page.draw(area, &mut screen, ctx));
        self.screen = screen;
    }

    fn press(&mut self, keys: &[Key]) -> Reaction {
        let mut last = Reaction::Ignored;
        for key in keys {
            last = self.with(|page, ctx| page.key(*key, ctx));
        }
        last
    }

    fn write(&mut self, text: &str) {
        let keys: Vec<Key> = text.chars().map(Key::Char).collect();
        self.press(&keys);
    }

    fn click(&mut self, words: &str) -> Reaction {
        self.draw(140, 30);
        let (column, row) = self.find(words);
        let event = MouseEvent {
            kind: MouseKind::Press,
            column,
            row,
        };
        let reaction = self.with(|page, ctx| page.mouse(event, ctx));
        self.draw(140, 30);
        reaction
    }

    fn text(&self) -> String {
        let area = self.screen.area;
        let line = |y| {
            (0..area.width)
                .map(|x| self.screen[(x, y)].symbol())
                .collect::<String>()
                + "\n"
        };
        (0..area.height).map(line).collect()
    }

    fn find(&self, words: &str) -> (u16, u16) {
        let text = self.text();
        let (row, line) = text
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(words))
            .unwrap_or_else(|| panic!("no {words} in\n{text}"));
        let column = line[..line.find(words).unwrap()].chars().count();
        (u16::try_from(column).unwrap(), u16::try_from(row).unwrap())
    }

    fn selected_pid(&self) -> Option<u32> {
        let row = self.page.table.selected_row()?;
        Some(row.process(&self.snapshot).pid)
    }

    /// What stands in the table: the pid of a row, or the process count of a group.
    fn lines(&self) -> Vec<String> {
        let (_, lines) = self.page.table.in_sight();
        let line = |line| match line {
            Line::Row(at) => {
                let row: &rows::Row = &self.page.table.rows.rows[at];
                row.process(&self.snapshot).pid.to_string()
            }
            Line::Group(at) => format!("group of {}", self.page.table.group(at).rows.len()),
        };
        lines.map(|(one, _)| line(one)).collect()
    }
}

#[test]
fn the_selection_follows_its_row() {
    let mut seen = Seen::of(sample::busy());
    assert_eq!(seen.selected_pid(), None);
    seen.press(&[Key::Down]);
    assert_eq!(seen.selected_pid(), Some(4011));
    seen.press(&[Key::Down]);
    assert_eq!(seen.selected_pid(), Some(512));
    let mut next = sample::busy();
    next.processes[1].usage.as_mut().unwrap()[0].charged_bytes = Some(11 * sample::GIB);
    seen.show(next.clone());
    assert_eq!(seen.selected_pid(), Some(512));
    assert_eq!(seen.lines()[0], "512", "it moved up");
    seen.press(&[Key::Char('r')]);
    assert_eq!(seen.selected_pid(), Some(512));
    next.processes.remove(1);
    seen.show(next);
    assert!(
        seen.selected_pid().is_some_and(|pid| pid != 512),
        "what is gone is not selected"
    );
    seen.show(sample::empty());
    assert_eq!(seen.selected_pid(), None);
}

#[test]
fn scrolling_stays_inside() {
    let mut seen = Seen::of(sample::crowd(100));
    seen.page.table.set_page(4);
    for key in [
        Key::End,
        Key::PageDown,
        Key::Down,
        Key::PageUp,
        Key::Home,
        Key::Up,
        Key::PageUp,
        Key::End,
    ] {
        seen.press(&[key]);
        let (first, lines) = seen.page.table.in_sight();
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 4);
        let selected = lines.iter().filter(|(_, selected)| *selected).count();
        assert_eq!(selected, 1, "{key:?}");
        assert!(first <= 96);
    }
    seen.show(sample::crowd(2));
    assert_eq!(seen.page.table.in_sight().1.count(), 2);
}

#[test]
fn sorting_goes_round_all_columns() {
    let mut seen = Seen::of(sample::busy());
    let start = seen.page.table.order();
    for _ in 0..Column::all(seen.page.table.pools()).len() {
        seen.press(&[Key::Char('>')]);
    }
    assert_eq!(seen.page.table.order(), start);
    seen.press(&[Key::Char('<')]);
    let expected = Order {
        column: Column::Device,
        descending: false,
    };
    assert_eq!(seen.page.table.order(), expected);
    let mut empty = Seen::of(Snapshot::default());
    empty.press(&[
        Key::Char('s'),
        Key::Char('r'),
        Key::Down,
        Key::End,
        Key::PageUp,
        Key::Enter,
    ]);
}

#[test]
fn a_click_on_a_title_sorts_and_a_second_one_reverses() {
    let mut seen = Seen::of(sample::busy());
    seen.click("USER");
    assert_eq!(seen.lines()[0], "4011", "ada");
    seen.click("USER");
    assert_eq!(seen.lines()[0], "77", "root");
    seen.click("FAILED");
    assert_eq!(seen.lines()[0], "512");
}

#[test]
fn a_click_selects_and_a_second_one_opens() {
    let mut seen = Seen::of(sample::busy());
    assert_eq!(seen.click("pytest -k"), Reaction::Draw);
    assert_eq!(seen.selected_pid(), Some(512));
    let Reaction::Open(Open::Process(process)) = seen.click("pytest -k") else {
        panic!("it opens nothing");
    };
    assert_eq!(process.pid, 512);
    let Reaction::Open(Open::Device(device)) = seen.click("1 wormhole_b0") else {
        panic!("it opens nothing");
    };
    assert_eq!(device.device, Some(1));
}

#[test]
fn the_wheel_moves_what_is_seen() {
    let mut seen = Seen::of(sample::crowd(100));
    let wheel = MouseEvent {
        kind: MouseKind::WheelDown,
        column: 0,
        row: 20,
    };
    seen.with(|page, ctx| page.mouse(wheel, ctx));
    assert_eq!(seen.page.table.in_sight().0, 3);
    assert_eq!(seen.selected_pid(), None);
}

#[test]
fn a_filter_acts_while_it_is_typed() {
    let mut seen = Seen::of(sample::busy());
    seen.write("/user:grace");
    assert_eq!(seen.lines(), ["512", "9000"]);
    seen.write(" >1");
    assert_eq!(seen.lines(), ["512"]);
    // While it makes no sense, the last one that did counts.
    seen.write("x");
    assert_eq!(seen.lines(), ["512"]);
    seen.draw(140, 30);
    let (x, y) = seen.find("is no amount");
    assert_eq!(seen.screen[(x, y)].fg, Color::Red);
    seen.press(&[Key::Enter]);
    assert!(seen.page.typing.is_some(), "it stays to be corrected");
    seen.press(&[Key::Backspace, Key::Enter]);
    assert!(seen.page.typing.is_none());
    seen.draw(140, 30);
    seen.find("/user:grace >1  1 of 6 rows");
    // It stays in force for what comes.
    seen.show(sample::troubled());
    assert_eq!(seen.lines(), ["512"]);
    assert_eq!(seen.press(&[Key::Esc]), Reaction::Draw, "clears it");
    assert_eq!(seen.lines().len(), 7);
    assert_eq!(seen.press(&[Key::Esc]), Reaction::Ignored);
}

#[test]
fn typing_that_is_left_changes_nothing() {
    let mut seen = Seen::of(sample::busy());
    seen.write("/ada");
    seen.press(&[Key::Enter]);
    assert_eq!(seen.lines().len(), 3);
    seen.write("/ dev:0");
    assert_eq!(seen.lines(), ["4011"]);
    seen.press(&[Key::Esc]);
    assert_eq!(seen.lines().len(), 3);
    seen.write("/nobody");
    seen.draw(140, 30);
    seen.find("No row passes the filter.");
}

#[test]
fn groups_come_to_what_their_rows_come_to() {
    let mut seen = Seen::of(sample::busy());
    seen.press(&[Key::Char('g')]);
    seen.draw(140, 30);
    // By process: one line for both devices of the first, which can be opened.
    assert_eq!(seen.lines()[0], "group of 2");
    let (_, line) = seen.find("▸4011");
    let line = seen
        .text()
        .lines()
        .nth(usize::from(line))
        .unwrap()
        .to_owned();
    // 7 GiB + 1 MiB, and 2 GiB + 9 MiB.
    assert!(
        line.contains("9.01 GiB") || line.contains("9.01G"),
        "{line}"
    );
    assert!(
        line.contains("1254"),
        "812 + 40 + 2 + 400 live allocations: {line}"
    );
    assert!(line.contains('≤'), "peaks of two devices: {line}");
    seen.press(&[Key::Home, Key::Enter]);
    assert_eq!(seen.lines()[..3], ["group of 2", "4011", "4011"]);
    seen.press(&[Key::Down, Key::Enter]);
    // By device, user, cgroup, and not at all.
    for (words, groups) in [
        ("▸2            device 0 ", 3),
        ("  user ada ", 3),
        ("ion-2.scope ", 1),
    ] {
        seen.press(&[Key::Char('g')]);
        seen.draw(140, 30);
        seen.find(words);
        assert_eq!(seen.lines().len(), groups, "{words}");
    }
    seen.press(&[Key::Char('e')]);
    assert_eq!(seen.lines().len(), 1 + 6, "all are open");
    seen.press(&[Key::Char('g')]);
    assert_eq!(seen.lines().len(), 6);
}

#[test]
fn an_open_group_stays_open_and_selected() {
    let mut seen = Seen::of(sample::busy());
    seen.press(&[Key::Char('g'), Key::Char('g'), Key::Char('g')]);
    seen.click("user grace");
    seen.click("user grace");
    assert_eq!(seen.lines().len(), 3 + 2);
    let mut next = sample::busy();
    next.processes[1].usage.as_mut().unwrap()[0].charged_bytes = Some(11 * sample::GIB);
    seen.show(next);
    assert_eq!(seen.lines()[..3], ["group of 2", "512", "9000"]);
    seen.press(&[Key::Down, Key::Enter]);
    seen.draw(140, 30);
    assert_eq!(
        seen.lines().len(),
        5,
        "a row opens its process, and the group stays"
    );
}

#[test]
fn each_card_says_who_it_is_and_what_happened() {
    let mut seen = Seen::of(sample::busy());
    for step in 0..=12 {
        let mut snapshot = sample::busy();
        snapshot.taken_at = format!("2026-01-31T12:{:02}:{:02}Z", step / 3, step % 3 * 20);
        snapshot.devices[1].pools[0].charged_bytes = Some(step * 683 * sample::MIB);
        seen.history.take(&snapshot);
        seen.snapshot = snapshot;
    }
    seen.draw(140, 30);
    seen.find("0 wormhole_b0 …839680");
    let (x, y) = seen.find("1 wormhole_b0 …839681");
    let line: String = (x..140).map(|x| seen.screen[(x, y + 1)].symbol()).collect();
    assert!(
        line.contains("8.00G / 12.0G") && line.contains(" 66%"),
        "{line}"
    );
    let past = line.split_once("66%").unwrap().1.trim();
    assert!(
        past.starts_with('▁') && past.ends_with('▆'),
        "it grew to two thirds: {line}"
    );
}
