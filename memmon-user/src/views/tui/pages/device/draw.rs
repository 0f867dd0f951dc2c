//! The page: the pools, a lane for each allocator, what is under the cursor, and whose what is.

mod legend;
mod map;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{Context, DevicePage, Drawn, pools_of};
use crate::{
    tables::snapshot::{Device, Pool},
    text,
    views::{
        tui::draw::{length, pen::Pen},
        units::{UNKNOWN, counted, percent},
    },
};

/// Lines of cells that a lane has at the most.
const MOST_LINES: usize = 20;

/// `device 0 wormhole_b0`
pub fn name(device: &Device, ctx: &Context<'_>) -> String {
    format!("device {}", ctx.device_and_kind(device))
}

pub fn page(page: &mut DevicePage, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    page.drawn = Drawn::default();
    let theme = ctx.theme;
    let Some(device) = page.device(ctx) else {
        let words = match &page.subject {
            Some(_) => "Nobody uses this device any more.",
            None => "No device is in use.",
        };
        Pen::new(buffer, area, 0, theme).put(words, theme.quiet());
        return;
    };
    let Some(pool) = page.pool(device) else {
        Pen::new(buffer, area, 0, theme)
            .put("It has no memory that could be mapped.", theme.quiet());
        return;
    };
    page.drawn.pools = tabs(device, pool, area, buffer, ctx);
    Pen::new(buffer, area, 1, theme).put(&about(pool, ctx), theme.quiet());
    let roomy = area.height >= 16;
    let mut rest = Rect {
        y: area.y + 2 + u16::from(roomy),
        height: area.height.saturating_sub(2 + u16::from(roomy)),
        ..area
    };
    let pointed = usize::from(page.pointed().is_some());
    let foot = length(1 + pointed + usize::from(roomy)).min(rest.height);
    rest.height -= foot;
    match note(page, ctx) {
        Some(words) => {
            Pen::new(buffer, rest, 0, theme).put(words, theme.quiet());
        }
        None => map::draw(page, rest, buffer, ctx),
    }
    let foot = Rect {
        y: rest.bottom() + u16::from(roomy),
        height: foot.saturating_sub(u16::from(roomy)),
        ..area
    };
    // The map knows only now which cell is where.
    if let Some(words) = legend::under(page, ctx) {
        Pen::new(buffer, foot, 0, theme).put(&words, theme.strong());
    }
    let line = foot.height.saturating_sub(1);
    legend::draw(page, foot, line, buffer, ctx);
}

/// What there is to say instead of a map.
fn note(page: &DevicePage, ctx: &Context<'_>) -> Option<&'static str> {
    if !ctx.inspectable {
        return Some("Single allocations are not known here: there is no map.");
    }
    match &page.list {
        None => Some("Asking for what is allocated …"),
        Some(_) if page.lanes.is_empty() => Some("Nobody has an allocator for this pool."),
        Some(_) => None,
    }
}

fn tabs(
    device: &Device,
    chosen: &Pool,
    area: Rect,
    buffer: &mut Buffer,
    ctx: &Context<'_>,
) -> Vec<(String, Rect)> {
    let theme = ctx.theme;
    let mut pen = Pen::new(buffer, area, 0, theme);
    let mut places = Vec::new();
    for pool in pools_of(device) {
        let full = pool
            .charged_bytes
            .zip(pool.capacity_bytes)
            .and_then(|(used, capacity)| percent(used, capacity));
        let full = full.map_or_else(|| UNKNOWN.into(), |full| format!("{full}%"));
        let words = format!(" {} {full} ", text::visible(&pool.pool));
        let style = if pool.pool == chosen.pool {
            theme.selected()
        } else {
            theme.plain()
        };
        let x = area.right() - length(pen.room());
        pen.put(&words, style);
        let width = area.right() - length(pen.room()) - x;
        places.push((
            pool.pool.clone(),
            Rect {
                x,
                width,
                y: area.y,
                height: 1,
            },
        ));
        pen.skip(1);
    }
    places
}

/// The pool in numbers.
fn about(pool: &Pool, ctx: &Context<'_>) -> String {
    let size = |bytes: Option<u64>| {
        ctx.units
            .format_or_unknown(bytes, pool.capacity_bytes, false)
    };
    let mut words = format!(
        "{} of {} taken, {} at most so far",
        size(pool.charged_bytes),
        size(pool.capacity_bytes),
        size(pool.peak_charged_bytes)
    );
    if let (Some(banks), Some(capacity)) = (pool.banks, pool.capacity_bytes) {
        let each = ctx.units.format(capacity / banks.max(1), None, false);
        words += &format!("; {} of {each}", counted(banks, "bank", "banks"));
    }
    words
}
