//! The keys in a line, and the page that explains them all.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::super::pages::PageKind;
use super::pen::Pen;
use super::{MARGIN, length};
use crate::text;

type Entry = (&'static str, &'static str);

pub fn draw_line(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buffer, area, 0, theme);
    let pause = if app.is_paused() { "go on" } else { "pause" };
    let leave = match app.open_page() {
        PageKind::Overview => ("q", "quit"),
        _ => ("Esc", "back"),
    };
    let general = [leave, ("?", "help"), ("p", pause)];
    for (key, what) in general.into_iter().chain(app.page().keys().iter().copied()) {
        if pen.room() < text::width(key) + what.len() + 3 {
            break;
        }
        pen.put(key, theme.strong())
            .skip(1)
            .put(what, theme.quiet())
            .skip(2);
    }
}

/// At the right end of that line.
pub fn draw_status(app: &App, screen: Rect, buffer: &mut Buffer) {
    let Some(words) = app.page().status() else {
        return;
    };
    let line = screen.bottom() - 1;
    let end = screen.right() - MARGIN;
    let begin = (screen.x..end)
        .rev()
        .find(|x| {
            buffer
                .cell((*x, line))
                .is_some_and(|cell| cell.symbol() != " ")
        })
        .map_or(screen.x, |x| x + 2);
    let area = Rect {
        x: begin,
        y: line,
        width: end.saturating_sub(begin),
        height: 1,
    };
    Pen::new(buffer, area, 0, app.theme).flush(&[(words, app.theme.quiet())]);
}

const GENERAL: [Entry; 7] = [
    (
        "1 2 3 4  Tab",
        "overview, process, device, events; the next one",
    ),
    (
        "q Ctrl-C  Esc",
        "quit; back to the overview, and from there: quit",
    ),
    ("p Space", "pause, and go on with the newest"),
    ("+ -", "look more often, less often: from 100 ms to 10 s"),
    (
        "u  t",
        "units: auto, bytes, MiB, % of the pool; colours: dark, light, none",
    ),
    (
        "m",
        "leave the mouse to the terminal, to select text; take it",
    ),
    (
        "Ctrl-L Ctrl-Z",
        "draw anew; back to the shell for a while (fg returns)",
    ),
];

const RECORDING: [Entry; 9] = [
    (
        "1 2 3 4  Tab",
        "overview, process, device, events; the next one",
    ),
    (
        "q Ctrl-C  Esc",
        "quit; back to the overview, and from there: quit",
    ),
    ("Space  + -", "play or stand still; faster, slower"),
    ("[ ]", "the event before, the next one"),
    ("{ }", "the failure, ending or notice before, the next one"),
    (
        ", .  ( )",
        "a second back, a second on; the beginning, the end",
    ),
    (
        "u  t",
        "units: auto, bytes, MiB, % of the pool; colours: dark, light, none",
    ),
    (
        "m",
        "leave the mouse to the terminal, to select text; take it",
    ),
    (
        "Ctrl-L Ctrl-Z",
        "draw anew; back to the shell for a while (fg returns)",
    ),
];

const KEYS: usize = 27;
const WORDS: usize = 68;

pub fn draw_page(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let general: &[Entry] = if app.time().is_some() {
        &RECORDING
    } else {
        &GENERAL
    };
    let own = app.page().help();
    let mut entries: Vec<Entry> = own.to_vec();
    if !own.is_empty() {
        entries.push(("", ""));
    }
    entries.extend(general);
    entries.push(("", "press ? or Esc to close"));
    let width = length(KEYS + WORDS + 4).min(area.width);
    let height = length(entries.len() + 2).min(area.height);
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
    // Where not all of it fits, the keys come first; what the signs mean is in the README, too.
    let room = usize::from(inside.height);
    while entries.len() > room && entries.len() > general.len() + 1 {
        entries.remove(entries.len() - general.len() - 2);
    }
    // Where it is narrow, the words matter more than their column.
    let keys = if usize::from(width) < KEYS + WORDS {
        17
    } else {
        KEYS
    };
    for (nth, (key, what)) in entries.iter().enumerate() {
        let mut pen = Pen::new(buffer, inside, length(nth), theme);
        pen.left(key, keys, theme.strong())
            .skip(1)
            .put(what, theme.plain());
    }
}
