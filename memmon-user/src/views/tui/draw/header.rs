//! Who is looking, at what, and how fresh it is.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::pen::Pen;
use crate::views::health::is_running;
use crate::views::text;
use crate::views::units::counted;

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let snapshot = app.snapshot();
    let scope = if app.scope.is_empty() {
        &snapshot.observer.scope
    } else {
        &app.scope
    };
    let scope = if scope == "all" {
        "all processes, all devices".into()
    } else {
        text::visible(scope)
    };
    let mut pen = Pen::new(buffer, area, 0, theme);
    pen.put("memmon", theme.title());
    if !snapshot.host.is_empty() {
        pen.skip(2)
            .put(&text::visible(&snapshot.host), theme.strong());
    }
    pen.skip(2).put(&scope, theme.plain());
    let running = snapshot.processes.iter().filter(|p| is_running(p)).count();
    let exited = snapshot.processes.len() - running;
    let mut counts = counted(running as u64, "process", "processes");
    if exited > 0 {
        counts.push_str(&format!(", {exited} exited"));
    }
    let mut right = Vec::new();
    if !snapshot.taken_at.is_empty() {
        right.push((format!("{counts}  "), theme.quiet()));
    }
    if app.is_paused() {
        right.push(("PAUSED  ".into(), theme.warning()));
    }
    if app.source_ended() {
        right.push(("no more news  ".into(), theme.warning()));
    } else if let Some(seconds) = app.quiet() {
        right.push((format!("last news {seconds} s ago  "), theme.quiet()));
    }
    if let Some(time) = clock(&snapshot.taken_at) {
        right.push((time, theme.plain()));
    }
    // Where not all of it fits, the last words count most.
    while right.len() > 1 && right.iter().map(|(w, _)| text::width(w)).sum::<usize>() >= pen.room()
    {
        right.remove(0);
    }
    pen.flush(&right);
}

/// `12:00:00 UTC` of an RFC 3339 time.
fn clock(time: &str) -> Option<String> {
    let (_, clock) = time.split_once('T')?;
    let zone = if clock.ends_with('Z') { " UTC" } else { "" };
    clock
        .get(..8)
        .map(|clock| format!("{}{zone}", text::visible(clock)))
}
