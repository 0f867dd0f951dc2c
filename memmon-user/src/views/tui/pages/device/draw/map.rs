//! The lanes: a line of words over lines of cells.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    super::{
        Context, DevicePage,
        cells::{Cell, cells, edge, levels},
        lanes::Lane,
        process,
    },
    MOST_LINES,
};
use crate::{
    text,
    views::{
        tui::draw::{length, pen::Pen},
        units::{Bytes, UNKNOWN, counted},
    },
};

/// Narrower than this there is no room for addresses beside the cells.
const WIDE: u16 = 60;

/// Of each lane: a line of words, its cells, and a line of air.
pub fn draw(page: &mut DevicePage, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let count = page.lanes.len();
    let height = usize::from(area.height);
    let widest = page
        .lanes
        .iter()
        .map(|lane| lane.base + lane.length)
        .max()
        .unwrap_or(0);
    let label = if area.width >= WIDE {
        format!("{widest:#x}").len() + 1
    } else {
        0
    };
    // As many lines as all have room for; three at the least where there are too many lanes.
    let lines = (height / count.max(1))
        .saturating_sub(2)
        .clamp(3, MOST_LINES);
    let lines = lines.min(height.saturating_sub(1)).max(1);
    let each = lines + 1 + usize::from(height > (lines + 1) * count);
    let in_sight = (height / each).max(1);
    if let Some((nth, _)) = page.pointed() {
        page.first = page.first.clamp((nth + 1).saturating_sub(in_sight), nth);
    }
    page.first = page.first.min(count.saturating_sub(in_sight));
    page.drawn.columns = usize::from(area.width).saturating_sub(label);
    page.drawn.lines = lines;
    for (place, nth) in (page.first..count).take(in_sight).enumerate() {
        let top = length(place * each);
        let left_out = count.saturating_sub(in_sight);
        head(
            page,
            nth,
            left_out,
            Rect {
                y: area.y + top,
                height: 1,
                ..area
            },
            buffer,
            ctx,
        );
        let body = Rect {
            y: area.y + top + 1,
            height: length(lines).min(area.height.saturating_sub(top + 1)),
            ..area
        };
        grid(page, nth, label, body, buffer, ctx);
        let body = Rect {
            x: body.x + length(label),
            width: body.width.saturating_sub(length(label)),
            ..body
        };
        page.drawn.lanes.push((nth, body));
    }
}

fn head(
    page: &DevicePage,
    nth: usize,
    left_out: usize,
    area: Rect,
    buffer: &mut Buffer,
    ctx: &Context<'_>,
) {
    let theme = ctx.theme;
    let lane = &page.lanes[nth];
    let mut pen = Pen::new(buffer, area, 0, theme);
    pen.put(
        &page.palette.letter(lane.pid).to_string(),
        style(page, lane, false, ctx),
    );
    let command = process(ctx, lane.pid).map_or_else(
        || UNKNOWN.into(),
        |process| text::fit(&process.comm, 16, theme.signs.ellipsis),
    );
    pen.put(&format!(" {} {command}", lane.pid), theme.strong());
    let free = lane.free();
    let all = |bytes: u64| {
        ctx.units
            .format(bytes * lane.banks, Some(lane.length * lane.banks), true)
    };
    let mut parts = vec![format!(
        "{} of {} taken",
        all(lane.taken()),
        all(lane.length)
    )];
    if let Some(largest) = free.largest {
        let gaps = counted(free.gaps as u64, "block", "blocks");
        parts.push(format!("{} free in {gaps}", all(free.bytes)));
        let banks = if lane.banks > 1 {
            format!(", {} a bank", Bytes::Short.format(largest.size))
        } else {
            String::new()
        };
        parts.push(format!("largest {}{banks}", all(largest.size)));
    }
    if let Some(part) = free.fragmentation() {
        parts.push(format!("{:.0}% fragmented", part * 100.0));
    }
    if !lane.is_known {
        parts.push("where the pool begins and ends is not known".into());
    }
    if left_out > 0 {
        parts.push(format!("allocator {} of {}", nth + 1, page.lanes.len()));
    }
    for part in parts {
        if pen.room() < text::width(&part) + 3 {
            break;
        }
        pen.put("  ", theme.plain()).put(&part, theme.plain());
    }
}

fn grid(
    page: &DevicePage,
    nth: usize,
    label: usize,
    area: Rect,
    buffer: &mut Buffer,
    ctx: &Context<'_>,
) {
    let theme = ctx.theme;
    let (columns, count) = (page.drawn.columns, page.drawn.count());
    let lane = &page.lanes[nth];
    let cells = cells(lane, count);
    let steps = if blocks_fit(ctx) { 8 } else { 2 };
    let levels = levels(&cells, steps);
    let cursor = page.pointed().filter(|(at, _)| *at == nth);
    let cursor = cursor.map(|(_, cursor)| cursor.cell(lane, count));
    for line in 0..area.height {
        let mut pen = Pen::new(buffer, area, line, theme);
        let first = usize::from(line) * columns;
        if label > 0 {
            let address = format!("{:#x}", lane.base + edge(lane, count, first));
            pen.right(&address, label - 1, theme.quiet()).skip(1);
        }
        for (at, (cell, level)) in cells
            .iter()
            .zip(&levels)
            .enumerate()
            .skip(first)
            .take(columns)
        {
            let (sign, mut style) = sign(page, lane, cell, *level, ctx);
            if Some(at) == cursor {
                style = theme.selected();
            }
            pen.put(&sign, style);
        }
    }
}

/// Whether a cell can tell both whose it is (a colour) and how full it is (eighths of a block).
fn blocks_fit(ctx: &Context<'_>) -> bool {
    ctx.theme.has_color() && ctx.theme.signs.bar.len() == 9
}

fn sign(
    page: &DevicePage,
    lane: &Lane,
    cell: &Cell,
    level: u32,
    ctx: &Context<'_>,
) -> (String, Style) {
    let signs = ctx.theme.signs;
    let Some(block) = cell.block else {
        let sign = if cell.is_largest_free {
            signs.free_largest
        } else {
            signs.free
        };
        return (sign.into(), ctx.theme.quiet());
    };
    let style = style(page, lane, block % 2 == 1, ctx);
    let letter = page.palette.letter(lane.pid);
    let sign = match level {
        // So little that it is made up for elsewhere: but it is there.
        0 => ":".into(),
        level if blocks_fit(ctx) => signs.bar[(level as usize).min(8)].into(),
        1 => letter.to_ascii_lowercase().to_string(),
        _ => letter.to_string(),
    };
    (sign, style)
}

fn style(page: &DevicePage, lane: &Lane, second: bool, ctx: &Context<'_>) -> Style {
    ctx.theme.process(page.palette.place(lane.pid), second)
}
