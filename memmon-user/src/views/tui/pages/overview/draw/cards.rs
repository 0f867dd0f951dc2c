//! A card for each device, where there is room: its pools with bar, sizes and the last minutes.

use std::time::Duration;

use ratatui::{buffer::Buffer, layout::Rect};

use super::device_ask;
use crate::tables::live::DeviceAsk;
use crate::tables::snapshot::{Device, Pool};
use crate::text;
use crate::views::tui::{
    draw::{bar, length, pen::Pen, spark::spark},
    pages::Context,
};
use crate::views::units::UNKNOWN;

/// Narrower than this says too little; wider than that is no card.
const WIDTH: (u16, u16) = (58, 96);
const GAP: u16 = 3;
const NAME: usize = 9;
const PERCENT: usize = 4;
const BAR: (usize, usize) = (8, 32);
/// What a line of history spans.
pub const PAST: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Plan {
    columns: u16,
    card: (u16, u16),
    pub height: u16,
}

/// None where cards would leave too little for the processes.
pub fn plan(ctx: &Context<'_>, area: Rect) -> Option<Plan> {
    let devices = &ctx.snapshot.devices;
    let count = length(devices.len());
    let columns = ((area.width + GAP) / (WIDTH.0 + GAP)).min(count);
    if columns == 0 {
        return None;
    }
    let lines = devices.iter().map(|device| device.pools.len()).max()?;
    let width = ((area.width + GAP) / columns)
        .saturating_sub(GAP)
        .min(WIDTH.1);
    let rows = count.div_ceil(columns);
    let card = (width, length(lines + 1));
    let height = rows.saturating_mul(card.1 + 1).saturating_sub(1);
    (height <= area.height * 2 / 5).then_some(Plan {
        columns,
        card,
        height,
    })
}

/// Returns where each card is.
pub fn draw(
    plan: &Plan,
    area: Rect,
    buffer: &mut Buffer,
    ctx: &Context<'_>,
) -> Vec<(Rect, DeviceAsk)> {
    let (width, height) = plan.card;
    let mut places = Vec::new();
    for (nth, device) in ctx.snapshot.devices.iter().enumerate() {
        let (row, column) = (length(nth) / plan.columns, length(nth) % plan.columns);
        let card = Rect {
            x: area.x + column * (width + GAP),
            y: area.y + row * (height + 1),
            width,
            height,
        };
        draw_card(device, card.intersection(area), buffer, ctx);
        places.push((card, device_ask(device)));
    }
    places
}

fn draw_card(device: &Device, card: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    let sizes = sizes(device, ctx);
    let width = usize::from(card.width);
    let used = NAME + 1 + sizes.0 + 3 + sizes.1 + 1 + PERCENT + 1 + 2;
    let room = width.saturating_sub(used);
    let bar_width = (room * 3 / 5).clamp(BAR.0, BAR.1);
    let past = room.saturating_sub(bar_width);

    let mut pen = Pen::new(buffer, card, 0, theme);
    pen.put(&ctx.device_and_kind(device), theme.strong());
    if let Some(uid) = &device.device_uid {
        pen.skip(1)
            .put(&short_uid(uid, theme.signs.ellipsis), theme.quiet());
    }
    let words = if past >= 6 { " 5 min" } else { "" };
    let rule = pen.room().saturating_sub(words.len() + 1);
    pen.skip(1)
        .put(&theme.signs.rule.repeat(rule), theme.quiet())
        .put(words, theme.quiet());

    for (nth, pool) in device.pools.iter().enumerate() {
        let mut pen = Pen::new(buffer, card, length(nth + 1), theme);
        pen.left(&pool.pool, NAME, theme.plain()).skip(1);
        bar::bar(&mut pen, pool, bar_width, theme);
        let style = bar::style(pool, theme);
        let size = |bytes: Option<u64>| {
            ctx.units
                .format_or_unknown(bytes, pool.capacity_bytes, true)
        };
        pen.skip(1)
            .right(&size(pool.charged_bytes), sizes.0, theme.strong())
            .put(" / ", theme.quiet())
            .left(&capacity(pool, ctx), sizes.1, theme.plain());
        let full = bar::fullness(pool).map_or_else(|| UNKNOWN.into(), |full| format!("{full}%"));
        pen.skip(1).right(&full, PERCENT, style).skip(2);
        pen.put(&past_of(device, pool, past, ctx), style);
    }
}

/// The sizes of used and capacity, in cells.
fn sizes(device: &Device, ctx: &Context<'_>) -> (usize, usize) {
    // Not every runtime says how much there is.
    let largest = device
        .pools
        .iter()
        .filter_map(|pool| pool.capacity_bytes.max(pool.charged_bytes))
        .max();
    let used = ctx.units.width_for(true, largest.unwrap_or(0));
    let capacity = device
        .pools
        .iter()
        .map(|pool| text::width(&capacity(pool, ctx)))
        .max();
    (used, capacity.unwrap_or(0))
}

/// Never as a part of itself.
fn capacity(pool: &Pool, ctx: &Context<'_>) -> String {
    ctx.units.format_or_unknown(pool.capacity_bytes, None, true)
}

/// The last minutes of a pool, in so many cells.
pub fn past_of(device: &Device, pool: &Pool, cells: usize, ctx: &Context<'_>) -> String {
    let Some(series) = ctx.history.pool(device, &pool.pool) else {
        return String::new();
    };
    let Some(span) = u32::try_from(cells).ok().and_then(|cells| {
        let seconds = PAST.as_secs().div_ceil(u64::from(cells.max(1)));
        (cells > 1).then(|| Duration::from_secs(seconds.max(1)))
    }) else {
        return String::new();
    };
    let amounts = ctx.history.spans(series, span, cells);
    let most = pool.capacity_bytes.or(pool.peak_charged_bytes).unwrap_or(0);
    spark(&amounts, most, ctx.theme)
}

/// The end of it: serials differ there.
fn short_uid(uid: &str, ellipsis: &str) -> String {
    let uid = text::visible(uid);
    let letters = uid.chars().count();
    if letters <= 8 {
        return uid;
    }
    let end: String = uid.chars().skip(letters - 6).collect();
    format!("{ellipsis}{end}")
}
