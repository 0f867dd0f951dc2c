//! Who holds what of which device: the devices, and the process table.

mod amount;
mod column;
mod draw;
pub mod filter;
mod group;
mod order;
mod rows;
mod table;
mod typing;

use std::ops::Range;

use ratatui::{buffer::Buffer, layout::Rect};

use self::{
    column::Column,
    filter::Filter,
    group::Grouping,
    table::{Line, Table},
    typing::{Typed, Typing},
};
use super::{Context, Open, Page, ProcessId, Reaction};
use crate::tables::live::DeviceAsk;
use crate::views::tui::{
    keys::Key,
    mouse::{MouseEvent, MouseKind},
};

#[derive(Debug, Default)]
pub struct Overview {
    table: Table,
    /// The filter as it was typed.
    filter: String,
    typing: Option<Typing>,
    places: Places,
}

/// Where things were drawn, for the mouse.
#[derive(Debug, Default)]
struct Places {
    cards: Vec<(Rect, DeviceAsk)>,
    /// The line of the column titles, and what it spans.
    titles: u16,
    columns: Vec<(Range<u16>, Column)>,
    lines: Rect,
}

impl Overview {
    /// The process of the selected line, where it is one.
    pub fn selected_process(&self, ctx: &Context<'_>) -> Option<ProcessId> {
        let row = self.table.selected_row()?;
        let of_one = match self.table.selected()? {
            Line::Row(_) => true,
            Line::Group(_) => self.table.grouping() == Grouping::Process,
        };
        of_one.then(|| ProcessId::of(row.process(ctx.snapshot)))
    }

    /// The device of the selected line, or else the first there is.
    pub fn selected_device(&self, ctx: &Context<'_>) -> Option<DeviceAsk> {
        let usage = self
            .table
            .selected_row()
            .and_then(|row| row.usage(ctx.snapshot));
        if let Some(usage) = usage {
            return Some(DeviceAsk {
                runtime: usage.runtime.clone(),
                device: usage.device,
                device_uid: usage.device_uid.clone(),
            });
        }
        ctx.snapshot.devices.first().map(draw::device_ask)
    }

    fn enter(&mut self, ctx: &Context<'_>) -> Reaction {
        match self.table.selected() {
            Some(Line::Group(_)) => self.table.toggle_group(ctx.snapshot),
            _ => return self.open_process(ctx),
        }
        Reaction::Draw
    }

    fn open_process(&self, ctx: &Context<'_>) -> Reaction {
        match self.selected_process(ctx) {
            Some(process) => Reaction::Open(Open::Process(process)),
            None => Reaction::Draw,
        }
    }

    fn open_device(&self, ctx: &Context<'_>) -> Reaction {
        match self.selected_device(ctx) {
            Some(device) => Reaction::Open(Open::Device(device)),
            None => Reaction::Draw,
        }
    }

    /// The last filter that makes sense stays in force.
    fn filter_by(&mut self, text: &str, ctx: &Context<'_>) {
        if let Ok(filter) = text.parse::<Filter>() {
            self.table.set_filter(filter, ctx.snapshot);
        }
    }

    fn set_filter(&mut self, text: String, ctx: &Context<'_>) {
        self.filter_by(&text, ctx);
        self.filter = text;
        self.typing = None;
    }

    fn type_key(&mut self, mut typing: Typing, key: Key, ctx: &Context<'_>) -> Reaction {
        match typing.key(key) {
            Typed::More => {
                self.filter_by(&typing.text, ctx);
                self.typing = Some(typing);
            }
            Typed::Done if typing.text.parse::<Filter>().is_ok() => {
                self.set_filter(typing.text.trim().to_owned(), ctx);
            }
            // What makes no sense stays to be corrected.
            Typed::Done => self.typing = Some(typing),
            Typed::Dropped => self.set_filter(self.filter.clone(), ctx),
        }
        Reaction::Draw
    }

    fn click(&mut self, event: MouseEvent, ctx: &Context<'_>) -> Reaction {
        let at = ratatui::layout::Position::new(event.column, event.row);
        if let Some((_, device)) = self.places.cards.iter().find(|(card, _)| card.contains(at)) {
            return Reaction::Open(Open::Device(device.clone()));
        }
        if event.row == self.places.titles {
            let mut columns = self.places.columns.iter();
            if let Some((_, column)) = columns.find(|(span, _)| span.contains(&event.column)) {
                self.table.sort_by(column.clone(), ctx.snapshot);
                return Reaction::Draw;
            }
        }
        if self.places.lines.contains(at) {
            let (first, lines) = self.table.in_sight();
            let nth = usize::from(event.row - self.places.lines.y);
            if nth >= lines.count() {
                return Reaction::Ignored;
            }
            let before = self.table.selected();
            self.table.select(ctx.snapshot, first + nth);
            // A second time: that one.
            if self.table.selected() == before {
                return self.enter(ctx);
            }
            return Reaction::Draw;
        }
        Reaction::Ignored
    }
}

impl Page for Overview {
    fn title(&self, _ctx: &Context<'_>) -> String {
        "overview".into()
    }

    fn update(&mut self, ctx: &Context<'_>) {
        self.table.update(ctx.snapshot, ctx.history);
    }

    fn key(&mut self, key: Key, ctx: &Context<'_>) -> Reaction {
        if let Some(typing) = self.typing.take() {
            return self.type_key(typing, key, ctx);
        }
        let (table, snapshot) = (&mut self.table, ctx.snapshot);
        match key {
            Key::Char('/') => self.typing = Some(Typing::new(&self.filter)),
            Key::Esc if !self.filter.is_empty() => self.set_filter(String::new(), ctx),
            Key::Char('<') | Key::Left => table.sort_by_next(snapshot, false),
            Key::Char('>' | 's') | Key::Right => table.sort_by_next(snapshot, true),
            Key::Char('r') => table.reverse(snapshot),
            Key::Char('g') => table.group_by_next(snapshot),
            Key::Char('e') => table.toggle_all_groups(snapshot),
            Key::Up | Key::Char('k') => table.select_by(snapshot, -1),
            Key::Down | Key::Char('j') => table.select_by(snapshot, 1),
            Key::PageUp => table.select_by(snapshot, -table.page_step()),
            Key::PageDown => table.select_by(snapshot, table.page_step()),
            Key::Home => table.select_by(snapshot, isize::MIN),
            Key::End | Key::Char('G') => table.select_by(snapshot, isize::MAX),
            Key::Backspace => table.select_none(),
            Key::Enter => return self.enter(ctx),
            Key::Char('d') => return self.open_device(ctx),
            _ => return Reaction::Ignored,
        }
        Reaction::Draw
    }

    fn mouse(&mut self, event: MouseEvent, ctx: &Context<'_>) -> Reaction {
        const WHEEL: isize = 3;
        match event.kind {
            MouseKind::Press => return self.click(event, ctx),
            MouseKind::WheelUp => self.table.scroll_by(ctx.snapshot, -WHEEL),
            MouseKind::WheelDown => self.table.scroll_by(ctx.snapshot, WHEEL),
            MouseKind::Drag | MouseKind::Release => return Reaction::Ignored,
        }
        Reaction::Draw
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
        draw::page(self, area, buffer, ctx);
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        &draw::HELP
    }

    fn status(&self) -> Option<String> {
        draw::status(self)
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        if self.typing.is_some() {
            return &[("Enter", "filter"), ("Esc", "leave"), ("Ctrl-U", "clear")];
        }
        &[
            ("/", "filter"),
            ("< >", "sort"),
            ("r", "reverse"),
            ("g", "group"),
            ("Enter", "process"),
            ("d", "device"),
        ]
    }
}

#[cfg(test)]
mod tests;
