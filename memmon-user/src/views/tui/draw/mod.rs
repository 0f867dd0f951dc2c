//! State → cells. One file for each part of the screen; all of them only read.

mod detail;
mod devices;
mod header;
mod health;
mod help;
pub mod pen;
mod processes;
pub mod spark;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::pen::Pen;
use super::app::App;

/// Below this there is no room to say anything true.
const LEAST: (u16, u16) = (24, 6);
/// From this height on there is room for air between the parts.
const AIRY: u16 = 18;
const MARGIN: u16 = 1;

/// The whole screen. Tells the table how many rows can be seen.
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
    let top = cut_top(&mut rest, 1);
    cut_top(&mut rest, air);
    let bottom = cut_bottom(&mut rest, 1);
    let health_lines = health::lines(app, usize::from(rest.height / 4).max(1));
    let health_area = cut_bottom(&mut rest, length(health_lines.len()));
    cut_bottom(&mut rest, air);
    let detail_lines = detail::lines(app, usize::from(rest.height / 3));
    if !detail_lines.is_empty() {
        let area = cut_bottom(&mut rest, length(detail_lines.len()));
        detail::draw(app, &detail_lines, area, buffer);
        cut_bottom(&mut rest, air);
    }
    let devices = devices::wanted(app, rest.height);
    if devices > 0 {
        let area = cut_top(&mut rest, devices);
        devices::draw(app, area, buffer);
        cut_top(&mut rest, air);
    }
    app.table
        .set_page(usize::from(rest.height.saturating_sub(1)));
    header::draw(app, top, buffer);
    processes::draw(app, rest, buffer);
    health::draw(app, &health_lines, health_area, buffer);
    help::draw_line(app, bottom, buffer);
    if app.shows_help() {
        help::draw_page(app, inside, buffer);
    }
}

pub fn length(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX)
}

fn cut_top(rest: &mut Rect, lines: u16) -> Rect {
    let lines = lines.min(rest.height);
    let taken = Rect {
        height: lines,
        ..*rest
    };
    rest.y += lines;
    rest.height -= lines;
    taken
}

fn cut_bottom(rest: &mut Rect, lines: u16) -> Rect {
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
