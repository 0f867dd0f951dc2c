//! One process: its totals with their history, and its live allocations one by one.

mod allocations;
mod draw;
mod sizes;

use ratatui::{buffer::Buffer, layout::Rect};

use self::{
    allocations::{Column, Order},
    sizes::{Class, Grouping},
};
use super::{Context, Open, Page, ProcessId, Reaction};
use crate::{
    tables::{
        live::{LiveAllocation, LiveAsk, LiveList},
        snapshot::{Failure, Process},
    },
    views::tui::{
        keys::Key,
        mouse::{MouseEvent, MouseKind},
    },
};

#[derive(Debug, Default)]
pub struct ProcessPage {
    subject: Option<ProcessId>,
    list: Option<LiveList>,
    /// The allocations in the order they are shown.
    order: Vec<usize>,
    sort: Order,
    classes: Vec<Class>,
    grouping: Grouping,
    view: View,
    selected: usize,
    first: usize,
    /// Lines of the list that can be seen.
    page: usize,
    drawn: Drawn,
}

/// What the lower part lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum View {
    #[default]
    Allocations,
    Sizes,
    Failures,
}

impl View {
    const ALL: [Self; 3] = [Self::Allocations, Self::Sizes, Self::Failures];
}

/// Where things stand on the screen.
#[derive(Debug, Default)]
struct Drawn {
    tabs: Vec<(View, Rect)>,
    columns: Vec<(Column, Rect)>,
    rows: Rect,
}

impl ProcessPage {
    /// What it is about.
    pub fn show(&mut self, subject: ProcessId) {
        if self.subject.as_ref() != Some(&subject) {
            *self = Self {
                subject: Some(subject),
                sort: self.sort,
                view: self.view,
                ..Self::default()
            };
        }
    }

    #[cfg(test)]
    pub fn subject(&self) -> Option<&ProcessId> {
        self.subject.as_ref()
    }

    fn process<'a>(&self, ctx: &Context<'a>) -> Option<&'a Process> {
        self.subject.as_ref()?.find(ctx.snapshot)
    }

    fn allocations(&self) -> &[LiveAllocation] {
        self.list.as_ref().map_or(&[], |list| &list.allocations)
    }

    fn selected_allocation(&self) -> Option<&LiveAllocation> {
        let nth = self.order.get(self.selected)?;
        self.allocations().get(*nth)
    }

    /// Those of this process, the newest first.
    fn failures<'a>(&self, ctx: &Context<'a>) -> Vec<&'a Failure> {
        let Some(subject) = &self.subject else {
            return Vec::new();
        };
        // Another process may have had the number before.
        let began = subject
            .start_time
            .as_deref()
            .and_then(super::super::moment::millis);
        let is_own = |failure: &&Failure| {
            let at = super::super::moment::millis(&failure.at);
            failure.pid == subject.pid && at.zip(began).is_none_or(|(at, began)| at >= began)
        };
        ctx.snapshot.failures.iter().rev().filter(is_own).collect()
    }

    fn len(&self, ctx: &Context<'_>) -> usize {
        match self.view {
            View::Allocations => self.order.len(),
            View::Sizes => self.classes.len(),
            View::Failures => self.failures(ctx).len(),
        }
    }

    fn sort_by(&mut self, sort: Order) -> Reaction {
        self.sort = sort;
        self.view = View::Allocations;
        self.arrange();
        (self.selected, self.first) = (0, 0);
        Reaction::Draw
    }

    fn arrange(&mut self) {
        self.order = self.sort.arrange(self.allocations());
    }

    fn turn(&mut self, view: View) -> Reaction {
        self.view = view;
        (self.selected, self.first) = (0, 0);
        Reaction::Draw
    }

    fn select(&mut self, to: usize, ctx: &Context<'_>) -> Reaction {
        self.selected = to.min(self.len(ctx).saturating_sub(1));
        Reaction::Draw
    }

    fn select_by(&mut self, step: isize, ctx: &Context<'_>) -> Reaction {
        self.select(self.selected.saturating_add_signed(step), ctx)
    }

    /// Keeps the selected row, and as many rows as fit, in sight.
    fn set_page(&mut self, page: usize, ctx: &Context<'_>) {
        let len = self.len(ctx);
        self.page = page.max(1);
        self.selected = self.selected.min(len.saturating_sub(1));
        let least = (self.selected + 1).saturating_sub(self.page);
        self.first = self
            .first
            .clamp(least, self.selected)
            .min(len.saturating_sub(self.page));
    }

    /// The device that the selected allocation stands on, to see what is around it.
    fn open(&self) -> Reaction {
        let device = self
            .selected_allocation()
            .filter(|_| self.view == View::Allocations)
            .and_then(|one| one.devices.first());
        device.map_or(Reaction::Ignored, |device| {
            Reaction::Open(Open::Device(device.clone()))
        })
    }

    fn click(&mut self, event: MouseEvent, ctx: &Context<'_>) -> Reaction {
        let at = (event.column, event.row).into();
        if let Some((view, _)) = self.drawn.tabs.iter().find(|(_, area)| area.contains(at)) {
            return self.turn(*view);
        }
        let column = self
            .drawn
            .columns
            .iter()
            .find(|(_, area)| area.contains(at));
        if let Some((column, _)) = column {
            return self.sort_by(self.sort.clicked(*column));
        }
        if self.drawn.rows.contains(at) {
            let line = usize::from(event.row - self.drawn.rows.y);
            return self.select(self.first + line, ctx);
        }
        Reaction::Ignored
    }
}

impl Page for ProcessPage {
    fn title(&self, ctx: &Context<'_>) -> String {
        match (self.process(ctx), &self.subject) {
            (Some(process), _) => draw::name(process),
            (None, Some(subject)) => format!("process {}", subject.pid),
            (None, None) => "process".into(),
        }
    }

    fn update(&mut self, _ctx: &Context<'_>) {}

    fn key(&mut self, key: Key, ctx: &Context<'_>) -> Reaction {
        let page = self.page.cast_signed();
        match key {
            Key::Char('b') => self.sort_by(Order::LARGEST),
            Key::Char('o') => self.sort_by(Order::OLDEST),
            Key::Char('<') => self.sort_by(self.sort.next(-1)),
            Key::Char('>' | 's') => self.sort_by(self.sort.next(1)),
            Key::Char('r') => self.sort_by(self.sort.reversed()),
            Key::Char('v') => {
                let at = View::ALL.iter().position(|view| *view == self.view);
                let next = (at.unwrap_or(0) + 1) % View::ALL.len();
                self.turn(View::ALL[next])
            }
            Key::Up | Key::Char('k') => self.select_by(-1, ctx),
            Key::Down | Key::Char('j') => self.select_by(1, ctx),
            Key::PageUp => self.select_by(-page, ctx),
            Key::PageDown => self.select_by(page, ctx),
            Key::Home | Key::Char('g') => self.select(0, ctx),
            Key::End | Key::Char('G') => self.select(usize::MAX, ctx),
            Key::Enter => self.open(),
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
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("v", "list its allocations, their sizes, its failures"),
            ("b o", "the biggest, the oldest first"),
            ("< > s", "sort by the column to the left, to the right"),
            ("r", "reverse the order"),
            ("Up Down PgUp PgDn Home End", "select"),
            ("Enter", "the device that the allocation stands on"),
            ("ADDRESS", "where it begins, in each bank"),
            ("OVERHEAD", "charged beyond what was asked for: padding"),
            ("AGE recovered", "allocated before it was observed"),
            (
                "SINCE THEN",
                "how many more of that size than when this page was opened",
            ),
        ]
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("v", "view"),
            ("b", "biggest"),
            ("o", "oldest"),
            ("< >", "sort"),
            ("Enter", "device"),
        ]
    }

    fn wants(&self) -> Option<LiveAsk> {
        Some(LiveAsk {
            pids: vec![self.subject.as_ref()?.pid],
            ..LiveAsk::default()
        })
    }

    fn take(&mut self, mut list: LiveList, _ctx: &Context<'_>) {
        // It may be the answer to what another subject wanted.
        let pid = self.subject.as_ref().map(|subject| subject.pid);
        list.allocations.retain(|one| Some(one.pid) == pid);
        let selected = self.selected_allocation().cloned();
        self.classes = self.grouping.classes(&list);
        self.list = Some(list);
        self.arrange();
        if self.view == View::Allocations
            && let Some(selected) = selected
        {
            let same = |one: &LiveAllocation| {
                (one.owner, one.address, &one.pool)
                    == (selected.owner, selected.address, &selected.pool)
            };
            let place = self
                .order
                .iter()
                .position(|nth| same(&self.allocations()[*nth]));
            // The first place stays the first place.
            if self.selected > 0 {
                self.selected = place.unwrap_or(self.selected);
            }
        }
    }
}

#[cfg(test)]
mod tests;
