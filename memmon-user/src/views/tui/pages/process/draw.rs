//! The page: who it is, its totals, and the list below them.

mod lists;
mod totals;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{Context, Drawn, ProcessPage, View};
use crate::{
    tables::snapshot::Process,
    text,
    views::{
        pools,
        tui::{
            draw::{length, pen::Pen},
            moment,
        },
        units::{counted, grouped},
    },
};

/// `process 4011 python`
pub fn name(process: &Process) -> String {
    format!("process {} {}", process.pid, text::visible(&process.comm))
}

pub fn page(page: &mut ProcessPage, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    page.drawn = Drawn::default();
    let theme = ctx.theme;
    let Some(process) = page.process(ctx) else {
        let words = match &page.subject {
            Some(_) => "It ended, and is no longer remembered.",
            None => "Select a process in the overview, and press Enter.",
        };
        Pen::new(buffer, area, 0, theme).put(words, theme.quiet());
        return;
    };
    let command = text::visible(&text::shell_words(&process.command));
    Pen::new(buffer, area, 0, theme).put(&command, theme.strong());
    Pen::new(buffer, area, 1, theme).put(&about(process, ctx), theme.quiet());
    let air = u16::from(area.height >= 16);
    let mut rest = below(area, 2 + air);
    let lines = totals::draw(process, rest, rest.height / 2, buffer, ctx);
    rest = below(rest, lines + air);
    page.drawn.tabs = tabs(page, rest, buffer, ctx);
    rest = below(rest, 1);
    page.set_page(usize::from(rest.height.saturating_sub(1)), ctx);
    match page.view {
        View::Allocations => lists::allocations(page, rest, buffer, ctx),
        View::Sizes => lists::sizes(page, rest, buffer, ctx),
        View::Failures => lists::failures(page, rest, buffer, ctx),
    }
    page.drawn.rows = below(rest, 1);
}

fn below(area: Rect, lines: u16) -> Rect {
    let lines = lines.min(area.height);
    Rect {
        y: area.y + lines,
        height: area.height - lines,
        ..area
    }
}

fn about(process: &Process, ctx: &Context<'_>) -> String {
    let mut about = vec![
        format!("user {}", pools::user(process.user.as_deref(), process.uid)),
        text::visible(&process.state),
    ];
    if let Some(time) = &process.start_time {
        let age = moment::between(time, &ctx.snapshot.taken_at);
        let age = age.map_or_else(String::new, |age| format!(" ({} ago)", moment::span(age)));
        let time = text::visible(time.split('.').next().unwrap_or(time));
        about.push(format!("started {time}{age}"));
    }
    about.push(
        match process.since.as_str() {
            "start" => "seen from its first allocation on",
            "recovered" => "what came before was read from its memory",
            _ => "what came before is not known",
        }
        .into(),
    );
    if let Some(cgroup) = &process.cgroup {
        about.push(format!("cgroup {}", text::visible(cgroup)));
    }
    about.join(&format!(" {} ", ctx.theme.signs.dot))
}

fn tabs(
    page: &ProcessPage,
    area: Rect,
    buffer: &mut Buffer,
    ctx: &Context<'_>,
) -> Vec<(View, Rect)> {
    let theme = ctx.theme;
    let mut pen = Pen::new(buffer, area, 0, theme);
    let omitted = page.list.as_ref().map_or(0, |list| list.omitted);
    let live = page.allocations().len() as u64 + omitted;
    let failures = page.failures(ctx).len() as u64;
    let mut places = Vec::new();
    for view in View::ALL {
        let words = match view {
            View::Allocations => counted(live, "allocation", "allocations"),
            View::Sizes => counted(page.classes.len() as u64, "size", "sizes"),
            View::Failures => counted(failures, "failure", "failures"),
        };
        let style = if view == page.view {
            theme.selected()
        } else {
            theme.plain()
        };
        let x = area.right() - length(pen.room());
        pen.put(&format!(" {words} "), style);
        let width = area.right() - length(pen.room()) - x;
        places.push((
            view,
            Rect {
                x,
                y: area.y,
                width,
                height: 1,
            },
        ));
        pen.skip(1);
    }
    if omitted > 0 && page.view != View::Failures {
        let bytes = page.list.as_ref().map_or(0, |list| list.omitted_bytes);
        let bytes = ctx.units.format(bytes, None, false);
        let words = format!(
            " the {} smallest ({bytes}) are not listed",
            grouped(omitted)
        );
        pen.put(&words, theme.warning());
    }
    places
}
