//! The overview → cells.

mod cards;
mod cells;
mod detail;
mod devices;
mod layout;
mod processes;
mod waiting;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{Overview, filter::Filter, group::Grouping};
use crate::tables::live::DeviceAsk;
use crate::tables::snapshot::Device;
use crate::text;
use crate::views::tui::{
    draw::{AIRY, cut_bottom, cut_top, length, pen::Pen},
    pages::Context,
};
use crate::views::units::grouped;

pub const HELP: [(&str, &str); 21] = [
    (
        "Up Down PgUp PgDn Home End",
        "select a row; Backspace selects none",
    ),
    (
        "Enter, a second click",
        "the process page; opens and closes a group",
    ),
    ("d, a click on a device", "the device page"),
    (
        "< > s, a click on a title",
        "sort by the column to the left, to the right, by that one",
    ),
    ("r", "reverse the order"),
    (
        "g  e",
        "group by process, device, user, cgroup; open or close all",
    ),
    (
        "/",
        "filter: words, and terms that must all hold. ! negates",
    ),
    (
        "  user:ada dev:0,1 pool:L1",
        "also pid: cmd: runtime: cgroup: state: since:",
    ),
    (
        "  >1G l1>4M live>100",
        "amounts: a pool, live, allocs, rate, peak, failed",
    ),
    ("Esc", "clears the filter"),
    ("", ""),
    (
        "DRAM, L1, ...",
        "what the allocator took from the device's pool",
    ),
    ("CB", "circular buffers as registered; not part of L1"),
    (
        "LIVE ALLOCS /S",
        "allocations now, ever, and in a second; without CB",
    ),
    (
        "PEAK",
        "the most the process ever held of the device's memory",
    ),
    ("FAILED", "allocations that failed: out of memory"),
    ("SINCE start", "seen from its first allocation on"),
    (
        "SINCE recovered, attach",
        "what came before was read from its memory; is not known",
    ),
    (
        "?  ~  -  <=",
        "not known; not exact; never held any; no more than",
    ),
    (
        "dimmed",
        "ended less than a minute ago, with what it held then",
    ),
    (
        "bar",
        "used now; up to its peak; free. Yellow from 75 %, red from 90 %",
    ),
];

pub fn device_ask(device: &Device) -> DeviceAsk {
    DeviceAsk {
        runtime: device.runtime.clone(),
        device: device.device,
        device_uid: device.device_uid.clone(),
    }
}

/// The devices above, the table below, and between them and the end whatever is asked for.
pub fn page(overview: &mut Overview, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let mut rest = area;
    let air = u16::from(area.height >= AIRY);
    let detail = detail::lines(&overview.table, ctx, usize::from(rest.height / 3));
    if !detail.is_empty() {
        let area = cut_bottom(&mut rest, length(detail.len()));
        detail::draw(&detail, area, buffer, ctx);
        cut_bottom(&mut rest, air);
    }
    overview.places.cards = match cards::plan(ctx, rest) {
        Some(plan) => {
            let area = cut_top(&mut rest, plan.height);
            cut_top(&mut rest, air);
            cards::draw(&plan, area, buffer, ctx)
        }
        None => {
            let wanted = devices::wanted(ctx, rest.height);
            let area = cut_top(&mut rest, wanted);
            if wanted > 0 {
                cut_top(&mut rest, air);
            }
            devices::draw(area, buffer, ctx)
        }
    };
    if overview.typing.is_some() || !overview.filter.is_empty() || is_grouped(overview) {
        let area = cut_top(&mut rest, 1);
        draw_filter(overview, area, buffer, ctx);
    }
    let lines = usize::from(rest.height.saturating_sub(1));
    overview.table.set_page(lines);
    processes::draw(overview, rest, buffer, ctx);
}

/// Which rows are in sight, where that is not all of them.
pub fn status(overview: &Overview) -> Option<String> {
    let table = &overview.table;
    let (first, lines) = table.in_sight();
    let seen = lines.count();
    (seen < table.len()).then(|| {
        let of = grouped(table.len() as u64);
        format!("rows {}-{} of {of}", first + 1, first + seen)
    })
}

fn is_grouped(overview: &Overview) -> bool {
    overview.table.grouping() != Grouping::None
}

/// The filter, also while it is typed, what is wrong with it, and how rows are grouped.
fn draw_filter(overview: &Overview, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    let mut pen = Pen::new(buffer, area, 0, theme);
    let typed = overview.typing.as_ref().map(|typing| &typing.text);
    let words = typed.unwrap_or(&overview.filter);
    if typed.is_some() || !words.is_empty() {
        pen.put("/", theme.title());
        pen.put(&text::visible(words), theme.strong());
        if typed.is_some() {
            pen.put(theme.signs.cursor, theme.title());
        }
        pen.skip(2);
        if let Err(error) = words.parse::<Filter>() {
            pen.put(&text::visible(&error.to_string()), theme.bad());
            return;
        }
        let (taken, all) = overview.table.count();
        let counts = format!("{} of {} rows", grouped(taken as u64), grouped(all as u64));
        pen.put(&counts, theme.quiet()).skip(2);
    }
    if is_grouped(overview) {
        let by = overview.table.grouping().name();
        pen.put(&format!("grouped by {by}"), theme.quiet());
    }
}
