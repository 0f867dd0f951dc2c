//! How far the numbers can be trusted. Calm while all is well, plain words when it is not.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::length;
use super::pen::Pen;
use crate::views::health;
use crate::{
    text,
    views::units::{counted, grouped},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Good,
    Warning,
    Plain,
}

#[derive(Debug)]
pub struct Line {
    tone: Tone,
    words: String,
}

/// The state first, then what is not understood and the notes; at most so many lines, never less than one once there is a snapshot.
pub fn lines(app: &App, most: usize) -> Vec<Line> {
    let snapshot = app.snapshot();
    let mut lines = Vec::new();
    if snapshot.taken_at.is_empty() {
        return lines;
    }
    for library in &snapshot.libraries {
        if let Some(problem) = &library.problem {
            let (runtime, path) = (
                text::visible(&library.runtime),
                text::visible(&library.path),
            );
            let processes = counted(library.processes as u64, "process", "processes");
            let problem = text::visible(problem);
            lines.push(Line {
                tone: Tone::Plain,
                words: format!("not understood: {runtime} {path} ({processes}): {problem}"),
            });
        }
    }
    lines.extend(snapshot.health.notes.iter().map(|n| Line {
        tone: Tone::Plain,
        words: text::visible(n),
    }));
    let mut troubles = health::troubles(snapshot);
    let room = most.saturating_sub(1);
    if lines.len() > room {
        troubles.push(counted(
            (lines.len() - room) as u64,
            "more note",
            "more notes",
        ));
        lines.truncate(room);
    }
    let mut events = format!("{} events", grouped(snapshot.health.events));
    if let Some(audit) = health::audit(snapshot) {
        events = format!("{events}, {audit}");
    }
    let (tone, words) = if troubles.is_empty() {
        (
            Tone::Good,
            format!("{events}, nothing lost, every row exact"),
        )
    } else {
        (Tone::Warning, format!("{}; {events}", troubles.join(", ")))
    };
    lines.insert(0, Line { tone, words });
    lines
}

pub fn draw(app: &App, lines: &[Line], area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    for (nth, line) in lines.iter().enumerate() {
        let mut pen = Pen::new(buffer, area, length(nth), theme);
        match line.tone {
            Tone::Good => pen
                .put(theme.signs.good, theme.good())
                .skip(1)
                .put(&line.words, theme.quiet()),
            Tone::Warning => pen
                .put("! ", theme.warning())
                .put(&line.words, theme.warning()),
            Tone::Plain => pen.skip(2).put(&line.words, theme.plain()),
        };
    }
}
