//! All that is known about the selected row, to the byte.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::group::Grouping;
use super::super::table::{Line, Table};
use super::cells::group_label;
use crate::tables::snapshot::Usage;
use crate::text;
use crate::views::pools;
use crate::views::tui::{
    draw::{length, pen::Pen},
    pages::Context,
};
use crate::views::units::{UNKNOWN, counted, grouped};

/// Empty where nothing is selected, or where there is no room for it.
pub fn lines(table: &Table, ctx: &Context<'_>, most: usize) -> Vec<String> {
    let snapshot = ctx.snapshot;
    let (Some(line), Some(row)) = (table.selected(), table.selected_row()) else {
        return Vec::new();
    };
    if most < 3 {
        return Vec::new();
    }
    if let Line::Group(at) = line
        && table.grouping() != Grouping::Process
    {
        let group = table.group(at);
        let rows = counted(group.rows.len() as u64, "row", "rows");
        return vec![format!("{}, {rows}", group_label(group, table, ctx))];
    }
    let dot = ctx.theme.signs.dot;
    let process = row.process(snapshot);
    let mut about = vec![format!("{} {}", process.pid, text::visible(&process.comm))];
    about.push(format!(
        "user {}",
        pools::user(process.user.as_deref(), process.uid)
    ));
    if let Some(time) = &process.start_time {
        about.push(format!(
            "started {}",
            text::visible(time.split('.').next().unwrap_or(time))
        ));
    }
    about.push(format!("seen since {}", text::visible(&process.since)));
    if let Some(cgroup) = &process.cgroup {
        about.push(format!("cgroup {}", text::visible(cgroup)));
    }
    let mut lines = vec![
        about.join(&format!(" {dot} ")),
        text::visible(&text::shell_words(&process.command)),
    ];
    match (&process.usage, row.usage(snapshot)) {
        (None, _) => {
            lines.push("Its library is not understood: what it holds is not known.".into())
        }
        (Some(_), None) => lines.push("It holds nothing.".into()),
        (Some(_), Some(_)) => {
            let mut here: Vec<&Usage> = row.usages(snapshot).collect();
            here.sort_by(|a, b| pools::order(&a.pool, &b.pool));
            lines.extend(here.into_iter().map(pool));
        }
    }
    lines.truncate(most - 1);
    lines
}

fn pool(usage: &Usage) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| UNKNOWN.into(), grouped);
    let charged = if usage.uncharged {
        "not charged".into()
    } else {
        format!(
            "charged {} B, peak {} B",
            number(usage.charged_bytes),
            number(usage.peak_charged_bytes)
        )
    };
    format!(
        "{:<8} {charged}; requested {} B; {} live of {} allocated, {} freed, {} failed{}{}",
        text::visible(&usage.pool),
        number(usage.requested_bytes),
        number(usage.live_allocations),
        number(usage.allocations),
        number(usage.frees),
        number(usage.failed_allocations),
        if usage.exact { "" } else { "; not exact (~)" },
        match usage.rebased {
            0 => String::new(),
            times => format!("; corrected by an audit ({times})"),
        },
    )
}

pub fn draw(lines: &[String], area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    for (nth, line) in lines.iter().enumerate() {
        let style = if nth == 0 {
            ctx.theme.strong()
        } else {
            ctx.theme.plain()
        };
        Pen::new(buffer, area, length(nth), ctx.theme).put(line, style);
    }
}
