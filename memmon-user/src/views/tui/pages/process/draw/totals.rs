//! What it holds, one line a pool of a device, with its last minutes.

use std::time::Duration;

use ratatui::{buffer::Buffer, layout::Rect};

use super::super::Context;
use crate::{
    tables::{
        order,
        snapshot::{Process, Usage},
    },
    text,
    views::{
        pools,
        tui::draw::{length, pen::Pen, spark::spark},
        units::{UNKNOWN, count_or_unknown},
    },
};

const GAP: usize = 2;
const HISTORY: (usize, usize) = (12, 60);

/// Name, width, and whether it gives way first where there is little room.
struct Column {
    title: &'static str,
    width: usize,
    cell: fn(&Usage, &Context<'_>) -> String,
}

fn columns(ctx: &Context<'_>) -> Vec<Column> {
    let bytes = ctx.units.width(true).max(9);
    // The most important ones first: what does not fit is left out.
    vec![
        Column {
            title: "CHARGED",
            width: bytes,
            cell: |u, ctx| amount(u, u.charged_bytes, ctx),
        },
        Column {
            title: "PEAK",
            width: bytes,
            cell: |u, ctx| amount(u, u.peak_charged_bytes, ctx),
        },
        Column {
            title: "LIVE",
            width: 8,
            cell: |u, _| count_or_unknown(u.live_allocations),
        },
        Column {
            title: "FAILED",
            width: 7,
            cell: |u, _| count_or_unknown(u.failed_allocations),
        },
        Column {
            title: "REQUESTED",
            width: bytes,
            cell: |u, ctx| {
                ctx.units
                    .format_or_unknown(u.requested_bytes, capacity(u, ctx), true)
            },
        },
        Column {
            title: "OVERHEAD",
            width: bytes,
            cell: overhead,
        },
        Column {
            title: "ALLOCS",
            width: 9,
            cell: |u, _| count_or_unknown(u.allocations),
        },
        Column {
            title: "FREES",
            width: 9,
            cell: |u, _| count_or_unknown(u.frees),
        },
        Column {
            title: "REBASED",
            width: 8,
            cell: |u, _| u.rebased.to_string(),
        },
    ]
}

/// Draws as many lines as it may, and returns how many.
pub fn draw(
    process: &Process,
    area: Rect,
    most: u16,
    buffer: &mut Buffer,
    ctx: &Context<'_>,
) -> u16 {
    let theme = ctx.theme;
    let Some(usage) = &process.usage else {
        let words = "Its library is not understood: what it holds is not known.";
        Pen::new(buffer, area, 0, theme).put(words, theme.warning());
        return 1.min(area.height);
    };
    let mut rows: Vec<&Usage> = usage.iter().collect();
    rows.sort_by(|a, b| {
        order::of_places(a.place(), b.place()).then_with(|| pools::order(&a.pool, &b.pool))
    });
    if rows.is_empty() {
        Pen::new(buffer, area, 0, theme).put("It holds nothing.", theme.quiet());
        return 1.min(area.height);
    }
    let room = usize::from(most.min(area.height)).saturating_sub(1).max(1);
    let shown = if rows.len() > room {
        room.saturating_sub(1)
    } else {
        rows.len()
    };
    let device = rows
        .iter()
        .map(|row| text::width(&device(row, ctx)))
        .max()
        .unwrap_or(0)
        .max(3);
    let pool = rows
        .iter()
        .map(|row| text::width(&row.pool))
        .max()
        .unwrap_or(0)
        .clamp(4, 13);
    let mut left = usize::from(area.width).saturating_sub(device + GAP + pool);
    let mut columns = columns(ctx);
    let mut fitting = 0;
    for column in &columns {
        // The history comes before whatever is less important than failures.
        let reserve = if fitting >= 4 { GAP + HISTORY.0 } else { 0 };
        if left < column.width + GAP + reserve {
            break;
        }
        left -= column.width + GAP;
        fitting += 1;
    }
    columns.truncate(fitting);
    let history = left.saturating_sub(GAP).min(HISTORY.1);
    let history = if history < HISTORY.0 { 0 } else { history };

    let mut pen = Pen::new(buffer, area, 0, theme);
    pen.left("DEV", device, theme.title())
        .skip(GAP)
        .left("POOL", pool, theme.title());
    if history > 0 {
        let minutes = span(history).as_secs() * history as u64 / 60;
        pen.skip(GAP)
            .left(&format!("LAST {minutes} MIN"), history, theme.title());
    }
    for column in &columns {
        pen.skip(GAP)
            .right(column.title, column.width, theme.title());
    }
    for (nth, row) in rows.iter().take(shown).enumerate() {
        let mut pen = Pen::new(buffer, area, length(nth + 1), theme);
        pen.left(&self::device(row, ctx), device, theme.strong());
        pen.skip(GAP).left(&row.pool, pool, theme.strong());
        if history > 0 {
            pen.skip(GAP)
                .left(&past(process, row, history, ctx), history, theme.good());
        }
        for (nth, column) in columns.iter().enumerate() {
            let style = match (column.title, row.failed_allocations) {
                ("FAILED", Some(1..)) => theme.bad(),
                _ if !row.exact && nth == 0 => theme.warning(),
                _ if nth == 0 => theme.strong(),
                _ => theme.plain(),
            };
            pen.skip(GAP)
                .right(&(column.cell)(row, ctx), column.width, style);
        }
    }
    if shown < rows.len() {
        let words = format!("+ {} more", rows.len() - shown);
        Pen::new(buffer, area, length(shown + 1), theme).put(&words, theme.quiet());
    }
    length(1 + shown + usize::from(shown < rows.len()))
}

/// Between two cells of history, so that all of it is some five minutes.
fn span(cells: usize) -> Duration {
    let seconds = 300_u64.div_ceil(cells.max(1) as u64);
    Duration::from_secs(seconds)
}

fn past(process: &Process, usage: &Usage, cells: usize, ctx: &Context<'_>) -> String {
    let Some(row) = ctx.history.row(process, usage) else {
        return String::new();
    };
    let amounts = ctx.history.spans(&row.charged, span(cells), cells);
    // To the scale of its own peak: what changes is seen, however large the pool is.
    let most = amounts.iter().flatten().max().copied().unwrap_or(0);
    spark(&amounts, most, ctx.theme)
}

fn device(usage: &Usage, ctx: &Context<'_>) -> String {
    ctx.device(&usage.runtime, usage.device, usage.device_uid.as_deref())
}

fn capacity(usage: &Usage, ctx: &Context<'_>) -> Option<u64> {
    let mut devices = ctx.snapshot.devices.iter();
    let device = devices.find(|device| device.place() == usage.place())?;
    let pool = device.pools.iter().find(|pool| pool.pool == usage.pool)?;
    pool.capacity_bytes
}

fn amount(usage: &Usage, bytes: Option<u64>, ctx: &Context<'_>) -> String {
    if usage.uncharged {
        return "-".into();
    }
    let words = ctx
        .units
        .format_or_unknown(bytes, capacity(usage, ctx), true);
    if usage.exact {
        words
    } else {
        format!("~{words}")
    }
}

fn overhead(usage: &Usage, ctx: &Context<'_>) -> String {
    match (usage.charged_bytes, usage.requested_bytes) {
        _ if usage.uncharged => "-".into(),
        (Some(charged), Some(requested)) => match charged.checked_sub(requested) {
            Some(bytes) => ctx.units.format(bytes, capacity(usage, ctx), true),
            None => UNKNOWN.into(),
        },
        _ => UNKNOWN.into(),
    }
}
