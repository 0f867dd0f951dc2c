//! Who holds what: one line for each process and device. Only the lines in sight are drawn.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::App;
use super::super::rows::{Amount, Cell, Column, Row};
use super::length;
use super::pen::Pen;
use crate::tables::snapshot::{Process, Snapshot};
use crate::views::units::{Bytes, UNKNOWN};
use crate::views::{pools, text};

const GAP: usize = 2;
/// A command shorter than this says nothing; longer than that may well be cut.
const COMMAND: (usize, usize) = (12, 28);

#[derive(Debug)]
struct Layout {
    columns: Vec<(Column, usize)>,
    bytes: Bytes,
    many_runtimes: bool,
}

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    if app.table.is_empty() {
        return draw_waiting(app, area, buffer);
    }
    let theme = app.theme;
    let layout = layout(app, usize::from(area.width));
    let (sorted_by, descending) = app.table.sorted_by();
    let mut pen = Pen::new(buffer, area, 0, theme);
    for (nth, (column, width)) in layout.columns.iter().enumerate() {
        let mut title = text::visible(column.title());
        if *column == sorted_by {
            let arrow = if descending {
                theme.signs.descending
            } else {
                theme.signs.ascending
            };
            title = if is_left(column) {
                format!("{title}{arrow}")
            } else {
                format!("{arrow}{title}")
            };
        }
        let style = if *column == sorted_by {
            theme.title()
        } else {
            theme.quiet()
        };
        put(
            pen.skip(if nth > 0 { GAP } else { 0 }),
            column,
            &title,
            *width,
            style,
        );
    }
    let (_, rows) = app.table.in_sight();
    for (line, (row, selected)) in rows.enumerate() {
        let here = Rect {
            y: area.y + length(line + 1),
            height: 1,
            ..area
        };
        let mut pen = Pen::new(buffer, area, length(line + 1), theme);
        for (nth, (column, width)) in layout.columns.iter().enumerate() {
            let (words, style) = cell(app, row, column, *width, &layout);
            let style = if row.exited { theme.quiet() } else { style };
            put(
                pen.skip(if nth > 0 { GAP } else { 0 }),
                column,
                &words,
                *width,
                style,
            );
        }
        if selected {
            buffer.set_style(here.intersection(buffer.area), theme.selected());
        }
    }
}

fn is_left(column: &Column) -> bool {
    matches!(
        column,
        Column::User | Column::Command | Column::Since | Column::State
    )
}

fn put(pen: &mut Pen<'_>, column: &Column, words: &str, width: usize, style: Style) {
    if is_left(column) {
        pen.left(words, width, style);
    } else {
        pen.right(words, width, style);
    }
}

fn cell(app: &App, row: &Row, column: &Column, width: usize, layout: &Layout) -> (String, Style) {
    let theme = app.theme;
    let process = &app.snapshot().processes[row.process];
    let plain = theme.plain();
    let amount = |amount: Amount, show: &dyn Fn(u64) -> String, style: Style| match amount {
        Amount::Known(0) => ("0".into(), theme.quiet()),
        Amount::Known(number) => (show(number), style),
        Amount::Unknown => (UNKNOWN.into(), theme.warning()),
        Amount::Absent => ("-".into(), theme.quiet()),
    };
    let marked = |(words, style): (String, Style), exact: bool| {
        if exact {
            (words, style)
        } else {
            (format!("~{words}"), theme.warning())
        }
    };
    let number = |n: u64| short_count(n);
    let size = |n: u64| layout.bytes.format(n);
    match column {
        Column::Pid => (process.pid.to_string(), plain),
        Column::User => (pools::user(process.user.as_deref(), process.uid), plain),
        Column::Command => (command(process, width, layout, row), plain),
        Column::Device => device(
            row,
            app.snapshot(),
            layout.many_runtimes,
            theme.warning(),
            plain,
        ),
        Column::Pool(pool) => {
            let at = app.table.pools().iter().position(|p| p == pool);
            let absent = Cell {
                amount: Amount::Absent,
                exact: true,
            };
            let cell = at
                .and_then(|at| row.pools.get(at))
                .copied()
                .unwrap_or(absent);
            let style = if pools::is_main(pool) {
                theme.strong()
            } else {
                plain
            };
            marked(amount(cell.amount, &size, style), cell.exact)
        }
        Column::Live => marked(amount(row.live, &number, plain), row.exact),
        Column::Allocations => marked(amount(row.allocations, &number, plain), row.exact),
        Column::Peak => marked(amount(row.peak, &size, plain), row.exact),
        Column::Failed => marked(amount(row.failed, &number, theme.bad()), row.exact),
        Column::Since => (text::visible(&process.since), theme.quiet()),
        Column::State => (text::visible(&process.state), theme.quiet()),
    }
}

/// The command line as it was given; the short name, in brackets, of a process that has none.
fn command(process: &Process, width: usize, layout: &Layout, row: &Row) -> String {
    let state_shown = layout.columns.iter().any(|(c, _)| *c == Column::State);
    let mut words = String::from(if row.exited && !state_shown {
        "exited: "
    } else {
        ""
    });
    if process.command.is_empty() {
        words.push_str(&format!("[{}]", process.comm));
    }
    for word in &process.command {
        // An escape makes a character wider, never narrower than a quarter of its bytes: more is not needed.
        if words.len() > width * 4 {
            break;
        }
        if !words.is_empty() && !words.ends_with(' ') {
            words.push(' ');
        }
        words.extend(word.chars().take(width + 1));
    }
    text::visible(&words)
}

fn device(
    row: &Row,
    snapshot: &Snapshot,
    many: bool,
    unknown: Style,
    plain: Style,
) -> (String, Style) {
    match row.usage(snapshot) {
        None if row.main == Amount::Unknown => (UNKNOWN.into(), unknown),
        None => ("-".into(), plain),
        Some(usage) => {
            let id = pools::device_id(
                &snapshot.devices,
                &usage.runtime,
                usage.device,
                usage.device_uid.as_deref(),
            );
            let style = if usage.device.is_none() && usage.device_uid.is_none() {
                unknown
            } else {
                plain
            };
            let words = if many {
                format!("{}:{id}", text::visible(&usage.runtime))
            } else {
                id
            };
            (words, style)
        }
    }
}

/// Plain up to six digits, then `1.23M`.
fn short_count(count: u64) -> String {
    match count {
        0..1_000_000 => count.to_string(),
        1_000_000..1_000_000_000 => scaled(count, 1_000_000, 'M'),
        _ => scaled(count, 1_000_000_000, 'G'),
    }
}

fn scaled(count: u64, unit: u64, sign: char) -> String {
    let hundredths = count / (unit / 100);
    match hundredths {
        0..1_000 => format!("{}.{:02}{sign}", hundredths / 100, hundredths % 100),
        1_000..10_000 => format!("{}.{}{sign}", hundredths / 100, hundredths % 100 / 10),
        _ => format!("{}{sign}", hundredths / 100),
    }
}

/// All columns where there is room; else shorter sizes; else without the columns one misses least.
fn layout(app: &App, width: usize) -> Layout {
    let snapshot = app.snapshot();
    let usages = || {
        snapshot
            .processes
            .iter()
            .flat_map(|p| p.usage.iter().flatten())
    };
    let many_runtimes = usages()
        .next()
        .is_some_and(|first| usages().any(|u| u.runtime != first.runtime));
    let mut columns = Column::all(app.table.pools());
    let mut bytes = Bytes::Human;
    let cell_width = |column: &Column, bytes: Bytes| {
        let least = match column {
            Column::Pid => 7,
            Column::User => 8,
            Column::Command => COMMAND.0,
            Column::Device if many_runtimes => 10,
            Column::Device => 4,
            Column::Pool(_) | Column::Peak => {
                if bytes == Bytes::Human {
                    9
                } else {
                    6
                }
            }
            Column::Live | Column::Allocations => 6,
            Column::Failed => 6,
            Column::Since | Column::State => 9,
        };
        // One cell for the arrow.
        least.max(text::width(&text::visible(column.title())).min(14) + 1)
    };
    let total = |columns: &[Column], bytes: Bytes| -> usize {
        columns
            .iter()
            .map(|c| cell_width(c, bytes) + GAP)
            .sum::<usize>()
            - GAP
    };
    if total(&columns, bytes) + COMMAND.1 - COMMAND.0 > width {
        bytes = Bytes::Short;
    }
    while total(&columns, bytes) > width {
        let spare = columns
            .iter()
            .enumerate()
            .filter_map(|(at, c)| Some((spare(c, app.table.pools())?, at)))
            .max();
        match spare {
            Some((_, at)) => columns.remove(at),
            None => break,
        };
    }
    let left = width.saturating_sub(total(&columns, bytes));
    let widths = columns
        .iter()
        .map(|c| cell_width(c, bytes) + if *c == Column::Command { left } else { 0 });
    Layout {
        columns: columns.iter().cloned().zip(widths).collect(),
        bytes,
        many_runtimes,
    }
}

/// The column with the highest number goes first; none stays.
fn spare(column: &Column, pools: &[String]) -> Option<usize> {
    Some(match column {
        Column::Pid | Column::Command => return None,
        Column::Pool(pool) => match pools.iter().position(|p| p == pool) {
            Some(0) => return None,
            Some(at) => 10 + at,
            None => 99,
        },
        Column::Device => 1,
        Column::User => 11,
        Column::Peak => 12,
        Column::Failed => 13,
        Column::Live => 30,
        Column::Since => 31,
        Column::State => 32,
        Column::Allocations => 33,
    })
}

/// Nothing to show yet: what is being waited for.
fn draw_waiting(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let snapshot = app.snapshot();
    let watched = snapshot
        .libraries
        .iter()
        .filter(|l| l.problem.is_none())
        .map(|l| text::visible(&l.path));
    let mut lines = Vec::new();
    if snapshot.taken_at.is_empty() {
        lines.push(("Looking around...".to_string(), theme.strong()));
    } else {
        lines.push((
            "No process holds accelerator memory.".into(),
            theme.strong(),
        ));
        lines.push((String::new(), theme.plain()));
        lines.push((
            "Waiting for a process to load a known runtime library,".into(),
            theme.plain(),
        ));
        lines.push((
            "such as libtt_metal.so: it appears here as soon as it does.".into(),
            theme.plain(),
        ));
        for path in watched.take(3) {
            lines.push((format!("watching {path}"), theme.quiet()));
        }
        lines.push((String::new(), theme.plain()));
        lines.push((
            "Expected one already? `memmon-ebpf doctor` says what is in the way.".into(),
            theme.quiet(),
        ));
    }
    let top = usize::from(area.height).saturating_sub(lines.len()) / 2;
    for (nth, (words, style)) in lines.iter().enumerate() {
        let indent = usize::from(area.width).saturating_sub(text::width(words)) / 2;
        Pen::new(buffer, area, length(top + nth), theme)
            .skip(indent)
            .put(words, *style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stay_short() {
        assert_eq!(short_count(999_999), "999999");
        assert_eq!(short_count(1_234_567), "1.23M");
        assert_eq!(short_count(999_999_999), "999M");
        assert_eq!(short_count(12_345_678_901), "12.3G");
    }
}
