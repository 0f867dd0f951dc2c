//! The live view without a terminal, for `tests/fuzz`.

use std::sync::Arc;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    app::App,
    draw,
    keys::Parser,
    pages::overview::filter::Filter,
    source::TimeState,
    theme::{Palette, Theme},
};
use crate::{
    tables::{live::LiveList, snapshot::Snapshot},
    views::sample,
};

#[derive(Debug)]
pub struct View {
    app: App,
    keys: Parser,
}

impl View {
    /// Bits: ASCII only; a recording; three for what is shown at first.
    pub fn new(settings: u8) -> Self {
        let theme = Theme::of(Palette::Dark, settings & 1 != 0);
        let mut app = App::new(theme, String::new());
        app.set_inspectable(true);
        if settings & 2 != 0 {
            app.set_time(TimeState::default());
        }
        match settings >> 2 & 7 {
            0 => app.show(Arc::new(sample::busy())),
            1 => app.show(Arc::new(sample::troubled())),
            2 => app.show(Arc::new(sample::empty())),
            3 => app.show(Arc::new(sample::crowd(60))),
            _ => {}
        }
        Self {
            app,
            keys: Parser::default(),
        }
    }

    pub fn show(&mut self, snapshot: Snapshot) {
        self.app.show(Arc::new(snapshot));
    }

    pub fn take(&mut self, list: LiveList) {
        self.app.take(list);
    }

    pub fn type_in(&mut self, bytes: &[u8]) {
        let told = self.keys.feed(bytes);
        for told in told.into_iter().chain(self.keys.give_up()) {
            self.app.told(told);
            self.app.wants();
        }
    }

    pub fn draw(&mut self, width: u16, height: u16) {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        draw::frame(&mut self.app, &mut buffer);
        let hostile = |c: char| c.is_control();
        let mut cells = buffer.content().iter();
        assert!(!cells.any(|cell| cell.symbol().contains(hostile)));
    }

    pub fn filter(text: &str) {
        if let Err(error) = text.parse::<Filter>() {
            assert!(!error.to_string().is_empty());
        }
    }
}
