//! Of a recording: which moment is shown, and what it was.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::super::moment;
use super::super::source::TimeState;
use super::pen::Pen;
use crate::text;

pub fn lines(time: &TimeState, room: bool) -> u16 {
    if room && (time.event.is_some() || !time.notes.is_empty()) {
        2
    } else {
        1
    }
}

/// `▶ 12:00:03 ━━━━━●───── 12:34:56 ×2`, and under it the event that was stepped to.
pub fn draw(app: &App, time: &TimeState, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let signs = theme.signs;
    let mut pen = Pen::new(buffer, area, 0, theme);
    let sign = if time.playing {
        signs.play
    } else {
        signs.pause
    };
    let clock = |nanos: u64| moment::words_of_nanos(nanos);
    pen.put(sign, theme.title())
        .skip(1)
        .put(&clock(time.now_ns), theme.strong())
        .skip(2);
    let end = format!("{}  {}", clock(time.end_ns), speed(time.speed));
    let room = pen.room().saturating_sub(text::width(&end) + 2);
    let whole = time.end_ns.saturating_sub(time.start_ns).max(1);
    let gone = time.now_ns.saturating_sub(time.start_ns).min(whole);
    let part = u128::from(gone) * room as u128 / u128::from(whole);
    let done = usize::try_from(part).unwrap_or(room).min(room);
    let full = signs.bar.last().copied().unwrap_or("#");
    pen.put(&full.repeat(done), theme.title())
        .put(&signs.bar_rest.repeat(room - done), theme.quiet())
        .skip(2)
        .put(&end, theme.quiet());
    if area.height > 1 {
        let mut pen = Pen::new(buffer, area, 1, theme);
        if let Some(event) = &time.event {
            pen.put(&text::visible(event), theme.plain()).skip(2);
        }
        for note in &time.notes {
            pen.put(&text::visible(note), theme.warning()).skip(2);
        }
    }
}

fn speed(speed: f64) -> String {
    if speed >= 1.0 {
        format!("x{speed:.0}")
    } else {
        format!("x{speed:.2}")
    }
}
