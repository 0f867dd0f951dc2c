//! The keys in a line, and the page that explains the columns.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::length;
use super::pen::Pen;
use crate::views::text;
use crate::views::units::grouped;

pub fn draw_line(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let pause = if app.is_paused() { "go on" } else { "pause" };
    let mut pen = Pen::new(buffer, area, 0, theme);
    let keys = [
        ("q", "quit"),
        ("?", "help"),
        ("p", pause),
        ("< >", "sort"),
        ("r", "reverse"),
        (theme.signs.up_down, "select"),
    ];
    for (key, what) in keys {
        if pen.room() < text::width(key) + what.len() + 3 {
            break;
        }
        pen.put(key, theme.strong())
            .skip(1)
            .put(what, theme.quiet())
            .skip(2);
    }
    let (first, rows) = app.table.in_sight();
    let seen = rows.count();
    if seen < app.table.len() {
        let rows = format!(
            "rows {}-{} of {}",
            first + 1,
            first + seen,
            grouped(app.table.len() as u64)
        );
        pen.flush(&[(rows, theme.quiet())]);
    }
}

const PAGE: [(&str, &str); 20] = [
    ("q Esc Ctrl-C", "quit"),
    ("p Space", "pause, and go on with the newest"),
    ("< > s", "sort by the column to the left, to the right"),
    ("r", "reverse the order"),
    (
        "Up Down PgUp PgDn Home End",
        "select a row; Backspace selects none",
    ),
    (
        "Ctrl-L Ctrl-Z",
        "draw anew; back to the shell for a while (fg returns)",
    ),
    ("", ""),
    (
        "DRAM, L1, ...",
        "what the allocator took from the device's pool",
    ),
    ("CB", "circular buffers as registered; not part of L1"),
    (
        "LIVE ALLOCS",
        "allocations now and ever, without circular buffers",
    ),
    (
        "PEAK",
        "the most the process ever held of the device's memory",
    ),
    ("FAILED", "allocations that failed: out of memory"),
    ("SINCE start", "seen from its first allocation on"),
    (
        "SINCE recovered",
        "what came before was read from its memory",
    ),
    ("SINCE attach", "what came before is not known"),
    ("", ""),
    ("?  ~  -", "not known; not exact; never held any"),
    (
        "dimmed",
        "ended less than a minute ago, with what it held then",
    ),
    (
        "bar",
        "used now; up to its peak; free. Yellow from 75 %, red from 90 %",
    ),
    ("", "press ? or Esc to close"),
];

pub fn draw_page(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let (keys, words) = (27, 64);
    let width = length(keys + words + 4).min(area.width);
    let height = length(PAGE.len() + 2).min(area.height);
    let page = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    for y in page.top()..page.bottom() {
        for x in page.left()..page.right() {
            if let Some(cell) = buffer.cell_mut((x, y)) {
                cell.reset();
            }
        }
    }
    let rule = theme.signs.rule.repeat(usize::from(width));
    Pen::new(buffer, page, 0, theme).put(&rule, theme.quiet());
    Pen::new(buffer, page, height - 1, theme).put(&rule, theme.quiet());
    let inside = Rect {
        x: page.x + 1,
        y: page.y + 1,
        width: width.saturating_sub(2),
        height: height.saturating_sub(2),
    };
    // Where it is narrow, the words matter more than their column.
    let keys = if usize::from(width) < keys + words {
        17
    } else {
        keys
    };
    for (nth, (key, what)) in PAGE.iter().enumerate() {
        let mut pen = Pen::new(buffer, inside, length(nth), theme);
        pen.left(key, keys, theme.strong())
            .skip(1)
            .put(what, theme.plain());
    }
}
