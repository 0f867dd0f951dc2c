//! The view without a terminal: snapshots and keys in, cells out. For measuring it, and for other programs' tests.

use std::sync::Arc;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    app::App,
    draw,
    keys::Parser,
    theme::{Palette, Theme},
};
use crate::tables::snapshot::Snapshot;

#[derive(Debug)]
pub struct Screen {
    app: App,
    keys: Parser,
    cells: Buffer,
}

impl Screen {
    pub fn new(width: u16, height: u16) -> Self {
        Self {
            app: App::new(Theme::of(Palette::Dark, false), String::new()),
            keys: Parser::default(),
            cells: Buffer::empty(Rect::new(0, 0, width, height)),
        }
    }

    pub fn show(&mut self, snapshot: &Arc<Snapshot>) {
        self.app.show(Arc::clone(snapshot));
    }

    /// As a terminal sends them.
    pub fn press(&mut self, bytes: &[u8]) {
        for told in self.keys.feed(bytes) {
            self.app.told(told);
        }
    }

    pub fn draw(&mut self) -> &Buffer {
        self.cells.reset();
        draw::frame(&mut self.app, &mut self.cells);
        &self.cells
    }
}
