//! What can be listed of a process: its allocations, their sizes, its failures.

use std::time::Duration;

use ratatui::{buffer::Buffer, layout::Rect};

use super::super::{Context, ProcessPage, allocations::Column, sizes::Class};
use crate::{
    tables::live::{DeviceAsk, LiveAllocation},
    text,
    views::{
        diagnosis,
        tui::{
            draw::{length, pen::Pen},
            moment,
        },
        units::{UNKNOWN, grouped},
    },
};

const GAP: usize = 2;
/// As wide as it gets: `recovered`.
const AGE: usize = 9;

fn nothing(page: &ProcessPage, ctx: &Context<'_>) -> Option<&'static str> {
    match &page.list {
        _ if !ctx.inspectable => Some("Single allocations are not known here."),
        None => Some("Asking for its allocations …"),
        Some(list) if list.allocations.is_empty() => Some("Nothing is allocated."),
        Some(_) => None,
    }
}

pub fn allocations(page: &mut ProcessPage, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    if let Some(words) = nothing(page, ctx) {
        Pen::new(buffer, area, 0, theme).put(words, theme.quiet());
        return;
    }
    let mut pen = Pen::new(buffer, area, 0, theme);
    let mut places = Vec::new();
    for column in Column::ALL {
        let width = width(column, ctx);
        if pen.room() < width {
            break;
        }
        let mut title = column.title().to_owned();
        if column == page.sort.column {
            let sign = if page.sort.descending {
                theme.signs.descending
            } else {
                theme.signs.ascending
            };
            title.insert_str(0, sign);
        }
        let x = area.right() - length(pen.room());
        if is_text(column) {
            pen.left(&title, width, theme.title());
        } else {
            pen.right(&title, width, theme.title());
        }
        pen.skip(GAP);
        places.push((
            column,
            Rect {
                x,
                y: area.y,
                width: length(width + GAP),
                height: 1,
            },
        ));
    }
    for (line, nth) in page
        .order
        .iter()
        .enumerate()
        .skip(page.first)
        .take(page.page)
    {
        let mut pen = Pen::new(buffer, area, length(line - page.first + 1), theme);
        let Some(one) = page.allocations().get(*nth) else {
            continue;
        };
        let style = if line == page.selected {
            theme.selected()
        } else {
            theme.plain()
        };
        for (column, _) in &places {
            let words = cell(one, *column, ctx);
            if is_text(*column) {
                pen.left(&words, width(*column, ctx), style);
            } else {
                pen.right(&words, width(*column, ctx), style);
            }
            pen.skip(GAP);
        }
    }
    page.drawn.columns = places;
}

fn width(column: Column, ctx: &Context<'_>) -> usize {
    match column {
        // Of user space: `0x7e0000000000`.
        Column::Address => 14,
        Column::Pool => 8,
        Column::Device if ctx.many_runtimes => 14,
        Column::Device => 9,
        Column::Requested | Column::Charged => ctx.units.width(false).max(10),
        Column::Age => AGE + 1,
        Column::Thread => 8,
    }
}

fn is_text(column: Column) -> bool {
    matches!(column, Column::Address | Column::Pool | Column::Device)
}

fn cell(one: &LiveAllocation, column: Column, ctx: &Context<'_>) -> String {
    match column {
        Column::Address => format!("{:#x}", one.address),
        Column::Pool => one.pool.clone(),
        Column::Device => devices(&one.devices, ctx),
        Column::Requested => ctx.units.format(one.requested_bytes, None, false),
        Column::Charged => match one.charged_bytes {
            Some(bytes) => ctx.units.format(bytes, None, false),
            None => "-".into(),
        },
        Column::Age => age(one.age_ns),
        Column::Thread => one
            .tid
            .map_or_else(|| UNKNOWN.into(), |tid| tid.to_string()),
    }
}

fn age(age_ns: Option<u64>) -> String {
    age_ns.map_or_else(
        || "recovered".into(),
        |age| moment::span(Duration::from_nanos(age)),
    )
}

/// `0`, `0-7`, `0,2`: their ids, behind the runtime (`cuda:0`) where there are several.
fn devices(devices: &[DeviceAsk], ctx: &Context<'_>) -> String {
    if let [device] = devices {
        let uid = device.device_uid.as_deref();
        return ctx.device(&device.runtime, device.device, uid);
    }
    let mut ids: Vec<i64> = devices.iter().filter_map(|device| device.device).collect();
    ids.sort_unstable();
    let ids = match (ids.first(), ids.last()) {
        (Some(first), Some(last)) if (last - first + 1).unsigned_abs() == ids.len() as u64 => {
            format!("{first}-{last}")
        }
        _ => ids
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
    };
    match devices.first() {
        Some(device) if ctx.many_runtimes => format!("{}:{ids}", text::visible(&device.runtime)),
        _ => ids,
    }
}

pub fn sizes(page: &ProcessPage, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    if let Some(words) = nothing(page, ctx) {
        Pen::new(buffer, area, 0, theme).put(words, theme.quiet());
        return;
    }
    let bytes = ctx.units.width(false).max(10);
    type Cell = fn(&Class, &Context<'_>) -> String;
    // Pools of two runtimes may have one name.
    let (pool_width, pool): (usize, Cell) = if ctx.many_runtimes {
        (18, |class, _| format!("{} {}", class.runtime, class.pool))
    } else {
        (8, |class, _| class.pool.clone())
    };
    let columns: [(&str, usize, Cell); 7] = [
        ("POOL", pool_width, pool),
        ("SIZE", bytes, |class, ctx| {
            ctx.units.format(class.size, None, false)
        }),
        ("COUNT", 9, |class, _| grouped(class.count)),
        ("SINCE THEN", 10, |class, _| match class.growth {
            0 => String::new(),
            growth => format!("{growth:+}"),
        }),
        ("CHARGED", bytes, |class, ctx| match class.charged {
            Some(bytes) => ctx.units.format(bytes, None, false),
            None => "-".into(),
        }),
        ("OLDEST", AGE, |class, _| age(class.oldest_ns)),
        ("NEWEST", AGE, |class, _| age(class.newest_ns)),
    ];
    let mut pen = Pen::new(buffer, area, 0, theme);
    for (nth, (title, width, _)) in columns.iter().enumerate() {
        put(&mut pen, title, *width, nth == 0, theme.title());
    }
    for (line, class) in page
        .classes
        .iter()
        .enumerate()
        .skip(page.first)
        .take(page.page)
    {
        let mut pen = Pen::new(buffer, area, length(line - page.first + 1), theme);
        let style = if line == page.selected {
            theme.selected()
        } else {
            theme.plain()
        };
        for (nth, (title, width, cell)) in columns.iter().enumerate() {
            let style = if *title == "SINCE THEN" && class.growth > 0 {
                theme.warning()
            } else {
                style
            };
            put(&mut pen, &cell(class, ctx), *width, nth == 0, style);
        }
    }
}

/// A cell of a column, where there is room for all of it.
fn put(pen: &mut Pen<'_>, words: &str, width: usize, is_text: bool, style: ratatui::style::Style) {
    if pen.room() < width + GAP {
        return;
    }
    if is_text {
        pen.left(words, width, style);
    } else {
        pen.right(words, width, style);
    }
    pen.skip(GAP);
}

pub fn failures(page: &ProcessPage, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    let failures = page.failures(ctx);
    if failures.is_empty() {
        let words = "No allocation failed, as far as is remembered.";
        Pen::new(buffer, area, 0, theme).put(words, theme.quiet());
        return;
    }
    let mut pen = Pen::new(buffer, area, 0, theme);
    pen.left("AT", 12, theme.title()).skip(GAP);
    pen.left("POOL", 8, theme.title())
        .skip(GAP)
        .put("WHY", theme.title());
    for (line, failure) in failures.iter().enumerate().skip(page.first).take(page.page) {
        let mut pen = Pen::new(buffer, area, length(line - page.first + 1), theme);
        let style = if line == page.selected {
            theme.selected()
        } else {
            theme.plain()
        };
        let at = moment::clock(&failure.at).unwrap_or_else(|| UNKNOWN.into());
        pen.left(&at, 12, style)
            .skip(GAP)
            .left(&failure.pool, 8, style)
            .skip(GAP);
        pen.put(&diagnosis::words(failure), style);
    }
}
