//! One process.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{Context, Page, ProcessId, Reaction};

use crate::views::tui::{keys::Key, mouse::MouseEvent};

#[derive(Debug, Default)]
pub struct ProcessPage {
    subject: Option<ProcessId>,
}

impl ProcessPage {
    /// What it is about.
    pub fn show(&mut self, subject: ProcessId) {
        self.subject = Some(subject);
    }

    pub fn subject(&self) -> Option<&ProcessId> {
        self.subject.as_ref()
    }
}

impl Page for ProcessPage {
    fn title(&self, _ctx: &Context<'_>) -> String {
        "process".into()
    }

    fn update(&mut self, _ctx: &Context<'_>) {}

    fn key(&mut self, _key: Key, _ctx: &Context<'_>) -> Reaction {
        Reaction::Ignored
    }

    fn mouse(&mut self, _event: MouseEvent, _ctx: &Context<'_>) -> Reaction {
        Reaction::Ignored
    }

    fn draw(&mut self, _area: Rect, _buffer: &mut Buffer, _ctx: &Context<'_>) {}

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}
