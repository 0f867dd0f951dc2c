//! State → cells: what stands around the open page. One file for each part of the screen; all of them only read.

pub mod bar;
mod header;
mod health;
mod help;
pub mod pen;
pub mod spark;
mod time;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::pen::Pen;
use super::app::App;

/// Below this there is no room to say anything true.
const LEAST: (u16, u16) = (24, 6);
/// From this height on there is room for air between the parts.
pub const AIRY: u16 = 18;
const MARGIN: u16 = 1;

/// The whole screen. Tells the page how much room it has.
pub fn frame(app: &mut App, buffer: &mut Buffer) {
    let screen = buffer.area;
    if screen.width < LEAST.0 || screen.height < LEAST.1 {
        let mut pen = Pen::new(buffer, screen, 0, app.theme);
        pen.put("memmon: too small", app.theme.warning());
        return;
    }
    let inside = Rect {
        x: screen.x + MARGIN,
        width: screen.width - 2 * MARGIN,
        ..screen
    };
    let air = u16::from(screen.height >= AIRY);
    let mut rest = inside;
    header::draw(app, cut_top(&mut rest, 1), buffer);
    if let Some((words, style)) = header::banner(app) {
        let area = cut_top(&mut rest, 1);
        Pen::new(buffer, area, 0, app.theme).put(&words, style);
    }
    if screen.height >= AIRY {
        header::draw_tabs(app, cut_top(&mut rest, 1), buffer);
    }
    cut_top(&mut rest, air);
    help::draw_line(app, cut_bottom(&mut rest, 1), buffer);
    if let Some(time) = app.time() {
        let lines = time::lines(time, screen.height >= AIRY);
        time::draw(app, time, cut_bottom(&mut rest, lines), buffer);
    }
    let lines = health::lines(app, usize::from(rest.height / 4).max(1));
    let area = cut_bottom(&mut rest, length(lines.len()));
    health::draw(app, &lines, area, buffer);
    cut_bottom(&mut rest, air);
    app.with_page(app.open_page(), |page, ctx| page.draw(rest, buffer, ctx));
    // The page knows only now which rows are in sight.
    help::draw_status(app, screen, buffer);
    if app.shows_help() {
        help::draw_page(app, inside, buffer);
    }
}

pub fn length(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX)
}

pub fn cut_top(rest: &mut Rect, lines: u16) -> Rect {
    let lines = lines.min(rest.height);
    let taken = Rect {
        height: lines,
        ..*rest
    };
    rest.y += lines;
    rest.height -= lines;
    taken
}

pub fn cut_bottom(rest: &mut Rect, lines: u16) -> Rect {
    let lines = lines.min(rest.height);
    rest.height -= lines;
    Rect {
        y: rest.y + rest.height,
        height: lines,
        ..*rest
    }
}

#[cfg(test)]
mod tests;
