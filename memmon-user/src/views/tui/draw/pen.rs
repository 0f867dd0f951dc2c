//! Writes text into cells from left to right, never beyond its area. What it writes must be visible text already.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::theme::Theme;
use crate::text;

pub struct Pen<'a> {
    buffer: &'a mut Buffer,
    theme: Theme,
    x: u16,
    y: u16,
    end: u16,
}

impl<'a> Pen<'a> {
    /// On a line of the area.
    pub fn new(buffer: &'a mut Buffer, area: Rect, line: u16, theme: Theme) -> Self {
        let area = area.intersection(buffer.area);
        let inside = line < area.height;
        Self {
            buffer,
            theme,
            x: area.x,
            y: area.y + line,
            end: if inside { area.right() } else { area.x },
        }
    }

    pub fn room(&self) -> usize {
        usize::from(self.end.saturating_sub(self.x))
    }

    /// Cut at the end of the area.
    pub fn put(&mut self, words: &str, style: Style) -> &mut Self {
        let room = self.room();
        if room == 0 || words.is_empty() {
            return self;
        }
        if text::width(words) <= room {
            self.x = self
                .buffer
                .set_stringn(self.x, self.y, words, room, style)
                .0;
        } else {
            let words = text::fit(words, room, self.theme.signs.ellipsis);
            self.buffer.set_stringn(self.x, self.y, words, room, style);
            self.x = self.end;
        }
        self
    }

    pub fn skip(&mut self, cells: usize) -> &mut Self {
        self.x = self.end.min(
            self.x
                .saturating_add(u16::try_from(cells).unwrap_or(u16::MAX)),
        );
        self
    }

    /// In a column of its own: padded, and cut with a mark.
    pub fn left(&mut self, words: &str, cells: usize, style: Style) -> &mut Self {
        let words = text::fit(words, cells, self.theme.signs.ellipsis);
        let pad = cells.saturating_sub(text::width(&words));
        self.put(&words, style).skip(pad)
    }

    pub fn right(&mut self, words: &str, cells: usize, style: Style) -> &mut Self {
        let words = text::fit(words, cells, self.theme.signs.ellipsis);
        let pad = cells.saturating_sub(text::width(&words));
        self.skip(pad).put(&words, style)
    }

    /// At the right end of the area, if there is room for all of it.
    pub fn flush(&mut self, parts: &[(String, Style)]) {
        let wanted: usize = parts.iter().map(|(words, _)| text::width(words)).sum();
        if wanted < self.room() {
            self.skip(self.room() - wanted);
            for (words, style) in parts {
                self.put(words, *style);
            }
        }
    }
}
