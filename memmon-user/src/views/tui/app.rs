//! The state of the view, and what keys and snapshots do to it. No I/O, no clock, no terminal.

use std::sync::Arc;

use super::keys::Key;
use super::rows::{self, Column, Row};
use super::theme::Theme;
use crate::tables::snapshot::Snapshot;

/// What a key asks of whoever runs the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    Draw,
    /// Draw everything anew: the screen was disturbed.
    Redraw,
    Suspend,
    Quit,
}

#[derive(Debug)]
pub struct App {
    pub theme: Theme,
    pub scope: String,
    snapshot: Arc<Snapshot>,
    /// While paused: the newest one, not shown.
    waiting: Option<Arc<Snapshot>>,
    paused: bool,
    help: bool,
    source_ended: bool,
    /// Seconds since the last snapshot, once that is longer than usual.
    quiet: Option<u64>,
    pub table: Table,
}

impl App {
    pub fn new(theme: Theme, scope: String) -> Self {
        Self {
            theme,
            scope,
            snapshot: Arc::default(),
            waiting: None,
            paused: false,
            help: false,
            source_ended: false,
            quiet: None,
            table: Table::default(),
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    pub fn shows_help(&self) -> bool {
        self.help
    }

    pub fn source_ended(&self) -> bool {
        self.source_ended
    }

    pub fn quiet(&self) -> Option<u64> {
        self.quiet
    }

    pub fn show(&mut self, snapshot: Arc<Snapshot>) {
        self.quiet = None;
        if self.paused {
            self.waiting = Some(snapshot);
        } else {
            self.table.update(&snapshot, &self.snapshot);
            self.snapshot = snapshot;
        }
    }

    pub fn end_source(&mut self) {
        self.source_ended = true;
    }

    /// Whether that changed what is seen.
    pub fn set_quiet(&mut self, seconds: Option<u64>) -> bool {
        std::mem::replace(&mut self.quiet, seconds) != seconds
    }

    pub fn key(&mut self, key: Key) -> Wish {
        match key {
            Key::Esc if self.help => self.help = false,
            Key::Char('q') | Key::Esc | Key::Ctrl('c') => return Wish::Quit,
            Key::Ctrl('z') => return Wish::Suspend,
            Key::Ctrl('l') => return Wish::Redraw,
            Key::Char('?' | 'h') => self.help = !self.help,
            Key::Char('p' | ' ') => self.pause(),
            _ if self.help => return Wish::Nothing,
            Key::Char('<') | Key::Left => self.table.sort_by_next(&self.snapshot, false),
            Key::Char('>' | 's') | Key::Right => self.table.sort_by_next(&self.snapshot, true),
            Key::Char('r') => self.table.reverse(&self.snapshot),
            Key::Up | Key::Char('k') => self.table.select_by(&self.snapshot, -1),
            Key::Down | Key::Char('j') => self.table.select_by(&self.snapshot, 1),
            Key::PageUp => self
                .table
                .select_by(&self.snapshot, -self.table.page_step()),
            Key::PageDown => self.table.select_by(&self.snapshot, self.table.page_step()),
            Key::Home | Key::Char('g') => self.table.select_by(&self.snapshot, isize::MIN),
            Key::End | Key::Char('G') => self.table.select_by(&self.snapshot, isize::MAX),
            Key::Backspace => self.table.select_none(),
            _ => return Wish::Nothing,
        }
        Wish::Draw
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        if let Some(newest) = self.waiting.take() {
            self.show(newest);
        }
    }
}

/// The process table: its rows in order, which of them are in sight, and which one is selected.
#[derive(Debug)]
pub struct Table {
    pools: Vec<String>,
    rows: Vec<Row>,
    /// None: whoever holds most of the devices' own memory.
    sort: Option<Column>,
    descending: bool,
    selected: Option<rows::Key>,
    /// Where the selected row is now.
    at: Option<usize>,
    offset: usize,
    page: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            rows: Vec::new(),
            sort: None,
            descending: true,
            selected: None,
            at: None,
            offset: 0,
            page: 1,
        }
    }
}

impl Table {
    pub fn pools(&self) -> &[String] {
        &self.pools
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn sorted_by(&self) -> (Column, bool) {
        (self.column(), self.descending)
    }

    pub fn selected(&self) -> Option<&Row> {
        self.rows.get(self.at?)
    }

    /// The rows in sight: where the first one stands, and whether each is the selected one.
    pub fn in_sight(&self) -> (usize, impl Iterator<Item = (&Row, bool)>) {
        let rows = self
            .rows
            .iter()
            .enumerate()
            .skip(self.offset)
            .take(self.page);
        (
            self.offset,
            rows.map(|(at, row)| (row, Some(at) == self.at)),
        )
    }

    /// How many rows can be seen at once.
    pub fn set_page(&mut self, page: usize) {
        self.page = page.max(1);
        self.scroll();
    }

    fn column(&self) -> Column {
        let first_pool = || self.pools.first().cloned().map(Column::Pool);
        self.sort.clone().or_else(first_pool).unwrap_or(Column::Pid)
    }

    fn page_step(&self) -> isize {
        isize::try_from(self.page.saturating_sub(1).max(1)).unwrap_or(1)
    }

    fn update(&mut self, snapshot: &Snapshot, before: &Snapshot) {
        // The selected row is remembered by what it is, for its place changes.
        self.selected = self.selected().map(|row| row.key(before));
        self.pools = rows::pools_of(snapshot);
        if let Some(Column::Pool(pool)) = &self.sort
            && !self.pools.contains(pool)
        {
            self.sort = None;
            self.descending = true;
        }
        self.rows = rows::rows_of(snapshot, &self.pools);
        self.sort(snapshot);
    }

    fn sort(&mut self, snapshot: &Snapshot) {
        let column = self.column();
        rows::sort(
            &mut self.rows,
            snapshot,
            &self.pools,
            &column,
            self.descending,
        );
        if let Some(key) = &self.selected {
            let found = self.rows.iter().position(|row| row.is(key, snapshot));
            // Gone: the selection stays where it was.
            self.at = found
                .or(self.at)
                .map(|at| at.min(self.rows.len().saturating_sub(1)));
        }
        self.scroll();
    }

    fn sort_by_next(&mut self, snapshot: &Snapshot, right: bool) {
        let columns = Column::all(&self.pools);
        let now = columns
            .iter()
            .position(|c| *c == self.column())
            .unwrap_or(0);
        let next = if right {
            now + 1
        } else {
            now + columns.len() - 1
        } % columns.len();
        let column = columns[next].clone();
        self.descending = column.descends_by_default();
        self.sort = Some(column);
        self.resort(snapshot);
    }

    fn reverse(&mut self, snapshot: &Snapshot) {
        self.descending = !self.descending;
        self.resort(snapshot);
    }

    fn resort(&mut self, snapshot: &Snapshot) {
        self.selected = self.selected().map(|row| row.key(snapshot));
        self.sort(snapshot);
    }

    fn select_by(&mut self, snapshot: &Snapshot, step: isize) {
        let Some(last) = self.rows.len().checked_sub(1) else {
            return;
        };
        let at = match self.at {
            Some(at) => at.saturating_add_signed(step),
            None if step == isize::MAX => last,
            None => self.offset,
        };
        self.at = Some(at.min(last));
        self.selected = self.selected().map(|row| row.key(snapshot));
        self.scroll();
    }

    fn select_none(&mut self) {
        self.at = None;
        self.selected = None;
        self.offset = 0;
    }

    /// Keeps the selected row, and as many rows as fit, in sight.
    fn scroll(&mut self) {
        if let Some(at) = self.at {
            self.offset = self.offset.clamp((at + 1).saturating_sub(self.page), at);
        }
        self.offset = self.offset.min(self.rows.len().saturating_sub(self.page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    fn app(snapshot: Snapshot) -> App {
        let mut app = App::new(Theme::new(true, false), String::new());
        app.show(Arc::new(snapshot));
        app.table.set_page(4);
        app
    }

    fn selected_pid(app: &App) -> Option<u32> {
        app.table
            .selected()
            .map(|row| app.snapshot().processes[row.process].pid)
    }

    #[test]
    fn the_selection_follows_its_row() {
        let mut app = app(sample::busy());
        assert_eq!(selected_pid(&app), None);
        app.key(Key::Down);
        assert_eq!(selected_pid(&app), Some(4011));
        app.key(Key::Down);
        assert_eq!(selected_pid(&app), Some(512));
        let mut next = sample::busy();
        next.processes[1].usage.as_mut().unwrap()[0].charged_bytes = Some(11 * sample::GIB);
        app.show(Arc::new(next.clone()));
        assert_eq!(selected_pid(&app), Some(512));
        assert_eq!(app.table.at, Some(0), "it moved up");
        app.key(Key::Char('r'));
        assert_eq!(selected_pid(&app), Some(512));
        next.processes.remove(1);
        app.show(Arc::new(next));
        assert!(
            selected_pid(&app).is_some_and(|pid| pid != 512),
            "what is gone is not selected"
        );
        app.show(Arc::new(sample::empty()));
        assert_eq!(selected_pid(&app), None);
    }

    #[test]
    fn scrolling_stays_inside() {
        let mut app = app(sample::crowd(100));
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
            app.key(key);
            let (first, rows) = app.table.in_sight();
            let rows: Vec<_> = rows.collect();
            assert_eq!(rows.len(), 4);
            assert_eq!(
                rows.iter().filter(|(_, selected)| *selected).count(),
                1,
                "{key:?}"
            );
            assert!(first <= 96);
        }
        assert_eq!(app.table.at, Some(99));
        app.show(Arc::new(sample::crowd(2)));
        assert_eq!(app.table.in_sight().1.count(), 2);
    }

    #[test]
    fn a_pause_holds_what_is_seen_and_ends_with_the_newest() {
        let mut app = app(sample::busy());
        app.key(Key::Char('p'));
        app.show(Arc::new(sample::empty()));
        app.show(Arc::new(sample::troubled()));
        assert_eq!(*app.snapshot(), sample::busy());
        app.key(Key::Char('p'));
        assert_eq!(*app.snapshot(), sample::troubled());
    }

    #[test]
    fn keys_that_leave() {
        let mut app = app(sample::busy());
        for key in [Key::Char('q'), Key::Esc, Key::Ctrl('c')] {
            assert_eq!(app.key(key), Wish::Quit);
        }
        app.key(Key::Char('?'));
        assert_eq!(app.key(Key::Esc), Wish::Draw, "closes the help first");
        assert_eq!(app.key(Key::Esc), Wish::Quit);
        assert_eq!(app.key(Key::Char('x')), Wish::Nothing);
    }

    #[test]
    fn sorting_goes_round_all_columns() {
        let mut app = app(sample::busy());
        let start = app.table.sorted_by();
        let count = Column::all(app.table.pools()).len();
        for _ in 0..count {
            app.key(Key::Char('>'));
        }
        assert_eq!(app.table.sorted_by(), start);
        app.key(Key::Char('<'));
        assert_eq!(app.table.sorted_by(), (Column::Device, false));
        let mut empty = App::new(Theme::new(true, false), String::new());
        for key in [
            Key::Char('s'),
            Key::Char('r'),
            Key::Down,
            Key::End,
            Key::PageUp,
        ] {
            empty.key(key);
        }
    }
}
