//! Who is looking, at what, and how fresh it is; and the pages there are.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::App;
use super::super::moment;
use super::super::pages::PageKind;
use super::super::units::Units;
use super::pen::Pen;
use crate::server::Link;
use crate::text;
use crate::views::health::is_running;
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
    if app.time().is_none() && app.pace != app.pace_asked_for() {
        right.push((format!("{}  ", app.pace.words()), theme.quiet()));
    }
    if app.units() != Units::Auto {
        right.push((format!("{}  ", app.units().name()), theme.quiet()));
    }
    if app.is_paused() {
        right.push(("PAUSED  ".into(), theme.warning()));
    }
    if app.source_ended() {
        right.push(("no more news  ".into(), theme.warning()));
    } else if let Some(seconds) = app.quiet() {
        right.push((format!("last news {seconds} s ago  "), theme.quiet()));
    }
    if let Some(time) = moment::clock(&snapshot.taken_at) {
        right.push((time, theme.plain()));
    }
    // Where not all of it fits, the last words count most.
    while right.len() > 1 && right.iter().map(|(w, _)| text::width(w)).sum::<usize>() >= pen.room()
    {
        right.remove(0);
    }
    pen.flush(&right);
}

/// What the reader must not overlook: that these numbers are old, or that they are not any more.
pub fn banner(app: &App) -> Option<(String, Style)> {
    if let Link::Lost { since_ns } = app.link() {
        let lost = moment::words_of_nanos(since_ns);
        let words = format!(
            "The daemon is gone since {lost}, and is tried again and again; what is shown is from before."
        );
        return Some((words, app.theme.bad()));
    }
    let words = "The daemon is back.";
    app.is_back().then(|| (words.into(), app.theme.good()))
}

/// The keys 1 to 4, and what they open; the open one stands out.
pub fn draw_tabs(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buffer, area, 0, theme);
    for (nth, kind) in PageKind::ALL.into_iter().enumerate() {
        let is_open = kind == app.open_page();
        // How many events are new is told wherever one is.
        let words = if is_open || kind == PageKind::Events {
            text::visible(&app.page_title(kind))
        } else {
            kind.name().into()
        };
        let style = if is_open {
            theme.title()
        } else {
            theme.quiet()
        };
        pen.put(&format!("{} ", nth + 1), theme.quiet())
            .put(&words, style)
            .skip(3);
    }
}
