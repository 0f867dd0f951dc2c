//! What happened: allocations that failed, processes that ended holding memory, and what became of the observation.

mod details;
mod draw;
mod entries;

use ratatui::{buffer::Buffer, layout::Rect};

use self::entries::{Entry, Id, Kind, entries};
use super::{Context, Open, Page, ProcessId, Reaction};
use crate::{
    tables::snapshot::Snapshot,
    views::tui::{
        keys::Key,
        mouse::{MouseEvent, MouseKind},
    },
};

#[derive(Debug, Default)]
pub struct EventsPage {
    /// None: all kinds.
    kind: Option<Kind>,
    /// None: the newest, whichever that is.
    selected: Option<Id>,
    first: usize,
    page: usize,
    /// When the newest event happened that was on the screen.
    seen: Option<u64>,
    drawn: Drawn,
}

/// Where things stand on the screen.
#[derive(Debug, Default)]
struct Drawn {
    tabs: Vec<(Option<Kind>, Rect)>,
    rows: Rect,
}

impl EventsPage {
    /// How many there are that nobody has seen.
    pub fn unseen(&self, snapshot: &Snapshot) -> usize {
        let is_new = |entry: &Entry<'_>| self.seen.is_none_or(|seen| entry.at > seen);
        entries(snapshot).into_iter().filter(is_new).count()
    }

    /// Those of the chosen kind.
    fn entries<'a>(&self, ctx: &Context<'a>) -> Vec<Entry<'a>> {
        let mut entries = entries(ctx.snapshot);
        entries.retain(|entry| self.kind.is_none_or(|kind| kind == entry.kind()));
        entries
    }

    /// Where the selected one is; the first where it is no longer there.
    fn place(&self, entries: &[Entry<'_>]) -> usize {
        let Some(selected) = &self.selected else {
            return 0;
        };
        let found = entries.iter().position(|entry| entry.id() == *selected);
        found.unwrap_or_default()
    }

    fn select(&mut self, to: usize, ctx: &Context<'_>) -> Reaction {
        let entries = self.entries(ctx);
        let to = to.min(entries.len().saturating_sub(1));
        // The first place stays the newest event's.
        self.selected = entries.get(to).filter(|_| to > 0).map(Entry::id);
        Reaction::Draw
    }

    fn select_by(&mut self, step: isize, ctx: &Context<'_>) -> Reaction {
        let at = self.place(&self.entries(ctx));
        self.select(at.saturating_add_signed(step), ctx)
    }

    fn turn(&mut self, kind: Option<Kind>) -> Reaction {
        (self.kind, self.selected, self.first) = (kind, None, 0);
        Reaction::Draw
    }

    fn next_kind(&mut self, step: isize) -> Reaction {
        let kinds = Kind::choices();
        let at = kinds
            .iter()
            .position(|kind| *kind == self.kind)
            .unwrap_or(0);
        let next = (at.cast_signed() + step).rem_euclid(kinds.len().cast_signed());
        self.turn(kinds[next.cast_unsigned()])
    }

    /// The process that it is about.
    fn open(&self, ctx: &Context<'_>) -> Reaction {
        let entries = self.entries(ctx);
        let pid = entries.get(self.place(&entries)).and_then(Entry::pid);
        let process = ctx
            .snapshot
            .processes
            .iter()
            .find(|process| Some(process.pid) == pid);
        process.map_or(Reaction::Ignored, |process| {
            Reaction::Open(Open::Process(ProcessId::of(process)))
        })
    }

    fn click(&mut self, event: MouseEvent, ctx: &Context<'_>) -> Reaction {
        let at = (event.column, event.row).into();
        let tab = self.drawn.tabs.iter().find(|(_, area)| area.contains(at));
        if let Some((kind, _)) = tab {
            return self.turn(*kind);
        }
        if self.drawn.rows.contains(at) {
            return self.select(self.first + usize::from(event.row - self.drawn.rows.y), ctx);
        }
        Reaction::Ignored
    }
}

impl Page for EventsPage {
    fn title(&self, ctx: &Context<'_>) -> String {
        match self.unseen(ctx.snapshot) {
            0 => "events".into(),
            new => format!("events ({new})"),
        }
    }

    fn update(&mut self, _ctx: &Context<'_>) {}

    fn key(&mut self, key: Key, ctx: &Context<'_>) -> Reaction {
        let page = self.page.cast_signed();
        match key {
            Key::Char('f' | '>') => self.next_kind(1),
            Key::Char('<') => self.next_kind(-1),
            Key::Up | Key::Char('k') => self.select_by(-1, ctx),
            Key::Down | Key::Char('j') => self.select_by(1, ctx),
            Key::PageUp => self.select_by(-page, ctx),
            Key::PageDown => self.select_by(page, ctx),
            Key::Home | Key::Char('g') => self.select(0, ctx),
            Key::End | Key::Char('G') => self.select(usize::MAX, ctx),
            Key::Enter => self.open(ctx),
            _ => Reaction::Ignored,
        }
    }

    fn mouse(&mut self, event: MouseEvent, ctx: &Context<'_>) -> Reaction {
        match event.kind {
            MouseKind::Press => self.click(event, ctx),
            MouseKind::WheelUp => self.select_by(-3, ctx),
            MouseKind::WheelDown => self.select_by(3, ctx),
            MouseKind::Drag | MouseKind::Release => Reaction::Ignored,
        }
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
        draw::page(self, area, buffer, ctx);
        self.seen = entries(ctx.snapshot)
            .iter()
            .map(|entry| entry.at)
            .max()
            .or(self.seen);
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("f < >", "show all, failures, ends, libraries, or losses"),
            (
                "Up Down PgUp PgDn Home End",
                "select: what is known of it stands below",
            ),
            ("Enter", "the process that it is about"),
            (
                "events (3)",
                "so many happened since this page was looked at",
            ),
            ("no room", "more was asked for than was free"),
            ("fragmented", "enough was free, but not in one piece"),
        ]
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[("f", "filter"), ("Enter", "process")]
    }
}

#[cfg(test)]
mod tests;
