//! The page: what can be chosen, the list, and what is known of the selected one.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    Context, Drawn, EventsPage, details,
    entries::{Entry, Kind, entries},
};
use crate::{
    text,
    views::{
        tui::{
            draw::{length, pen::Pen},
            moment,
        },
        units::{UNKNOWN, counted},
    },
};

const AT: usize = 12;
const WHAT: usize = 14;
const WHO: usize = 18;
/// Narrower than this, the summary comes before whom it is about.
const WIDE: u16 = 90;
/// Narrower than this, it says by itself what it is.
const LEAST: u16 = 60;

pub fn page(page: &mut EventsPage, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    page.drawn = Drawn::default();
    page.drawn.tabs = tabs(page, area, buffer, ctx);
    let entries = page.entries(ctx);
    let air = u16::from(area.height >= 16);
    let top = (1 + air).min(area.height);
    let mut rest = Rect {
        y: area.y + top,
        height: area.height - top,
        ..area
    };
    if entries.is_empty() {
        let words = "Nothing happened that you should know of.";
        Pen::new(buffer, rest, 0, theme).put(words, theme.quiet());
        return;
    }
    let place = page.place(&entries);
    let details = details::lines(&entries[place]);
    let details: Vec<(String, bool)> = details
        .iter()
        .enumerate()
        .flat_map(|(nth, line)| {
            let lines = wrapped(line, usize::from(area.width));
            lines.into_iter().map(move |line| (line, nth == 0))
        })
        .collect();
    // The list has a third of the room at the least.
    let wanted = length(details.len()).min(rest.height * 2 / 3);
    let below = Rect {
        y: rest.bottom() - wanted,
        height: wanted,
        ..rest
    };
    rest.height -= (wanted + air).min(rest.height);
    page.page = usize::from(rest.height).max(1);
    page.first = page
        .first
        .clamp((place + 1).saturating_sub(page.page), place);
    page.first = page.first.min(entries.len().saturating_sub(page.page));
    page.drawn.rows = rest;
    for (line, entry) in entries.iter().enumerate().skip(page.first).take(page.page) {
        let area = Rect {
            y: rest.y + length(line - page.first),
            height: 1,
            ..rest
        };
        row(entry, line == place, area, buffer, ctx);
    }
    for (nth, (line, is_first)) in details.iter().enumerate().take(usize::from(below.height)) {
        let style = if *is_first {
            theme.strong()
        } else {
            theme.plain()
        };
        Pen::new(buffer, below, length(nth), theme).put(line, style);
    }
}

/// Broken between words, so that no line is longer than that.
fn wrapped(line: &str, cells: usize) -> Vec<String> {
    if text::width(line) <= cells {
        return vec![line.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) if text::width(last) + 1 + text::width(word) <= cells => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines
}

fn row(entry: &Entry<'_>, is_selected: bool, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    let mut pen = Pen::new(buffer, area, 0, theme);
    let at = moment::clock(entry.what.at()).unwrap_or_else(|| UNKNOWN.into());
    let (plain, kind) = if is_selected {
        (theme.selected(), theme.selected())
    } else {
        let kind = match entry.kind() {
            Kind::Failure => theme.bad(),
            Kind::Ending => theme.plain(),
            Kind::Library | Kind::Loss => theme.warning(),
        };
        (theme.plain(), kind)
    };
    let is_narrow = area.width < LEAST;
    if is_narrow {
        let at = at.split(' ').next().unwrap_or_default();
        pen.left(at, AT - " UTC".len(), plain).skip(2);
    } else {
        pen.left(&at, AT, plain).skip(2);
        pen.left(entry.headline(), WHAT, kind).skip(2);
    }
    if area.width >= WIDE {
        pen.left(&entry.who(), WHO, plain).skip(2);
    } else if let Some(pid) = entry.pid() {
        pen.put(&format!("{pid} "), if is_narrow { kind } else { plain });
    }
    pen.put(&entry.summary(), plain);
}

fn tabs(
    page: &EventsPage,
    area: Rect,
    buffer: &mut Buffer,
    ctx: &Context<'_>,
) -> Vec<(Option<Kind>, Rect)> {
    let theme = ctx.theme;
    let all = entries(ctx.snapshot);
    let mut pen = Pen::new(buffer, area, 0, theme);
    let mut places = Vec::new();
    for choice in Kind::choices() {
        let words = match choice {
            None => counted(all.len() as u64, "event", "events"),
            Some(kind) => {
                let count = all.iter().filter(|entry| entry.kind() == kind).count();
                let (one, many) = kind.words();
                counted(count as u64, one, many)
            }
        };
        if pen.room() < text::width(&words) + 2 {
            break;
        }
        let style = if choice == page.kind {
            theme.selected()
        } else {
            theme.plain()
        };
        let x = area.right() - length(pen.room());
        pen.put(&format!(" {words} "), style);
        let width = area.right() - length(pen.room()) - x;
        places.push((
            choice,
            Rect {
                x,
                y: area.y,
                width,
                height: 1,
            },
        ));
        pen.skip(1);
    }
    places
}
