//! Who holds what: one line for each process and device, or group of them. Only the lines in sight are drawn.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::super::{Overview, column::Column, table::Line};
use super::layout::{GAP, layout};
use super::{cells, waiting};
use crate::text;
use crate::views::tui::{
    draw::{length, pen::Pen},
    pages::Context,
};

pub fn draw(overview: &mut Overview, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    overview.places.columns.clear();
    overview.places.lines = Rect::default();
    if overview.table.len() == 0 {
        return waiting::draw(overview, area, buffer, ctx);
    }
    let theme = ctx.theme;
    let table = &overview.table;
    let layout = layout(table, ctx, usize::from(area.width));
    let order = table.order();
    let mut pen = Pen::new(buffer, area, 0, theme);
    let mut places = Vec::new();
    let mut left = area.x;
    for (nth, (column, width)) in layout.columns.iter().enumerate() {
        let mut title = text::visible(column.title());
        if *column == order.column {
            let arrow = if order.descending {
                theme.signs.descending
            } else {
                theme.signs.ascending
            };
            title = if column.is_left() {
                format!("{title}{arrow}")
            } else {
                format!("{arrow}{title}")
            };
        }
        let style = if *column == order.column {
            theme.title()
        } else {
            theme.quiet()
        };
        put(pen.skip(gap(nth)), column, &title, *width, style);
        let right = left.saturating_add(length(*width + GAP));
        places.push((left..right, column.clone()));
        left = right;
    }
    let (_, lines) = table.in_sight();
    for (nth, (line, selected)) in lines.enumerate() {
        let mut pen = Pen::new(buffer, area, length(nth + 1), theme);
        for (at, (column, width)) in layout.columns.iter().enumerate() {
            let (exited, (words, style)) = match line {
                Line::Row(at) => {
                    let row = &table.rows.rows[at];
                    let cell = cells::row(row, column, *width, table, &layout, ctx);
                    (row.sums.exited, cell)
                }
                Line::Group(at) => {
                    let group = table.group(at);
                    let cell = cells::group(group, column, *width, table, &layout, ctx);
                    (group.sums.exited, cell)
                }
            };
            let style = if exited { theme.quiet() } else { style };
            put(pen.skip(gap(at)), column, &words, *width, style);
        }
        if selected {
            let here = Rect {
                y: area.y + length(nth + 1),
                height: 1,
                ..area
            };
            buffer.set_style(here.intersection(buffer.area), theme.selected());
        }
    }
    overview.places.titles = area.y;
    overview.places.columns = places;
    overview.places.lines = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(1),
        ..area
    };
}

fn gap(nth: usize) -> usize {
    if nth > 0 { GAP } else { 0 }
}

fn put(pen: &mut Pen<'_>, column: &Column, words: &str, width: usize, style: Style) {
    if column.is_left() {
        pen.left(words, width, style);
    } else {
        pen.right(words, width, style);
    }
}
