//! Nothing to show: what is being waited for, or what hides it.

use ratatui::{buffer::Buffer, layout::Rect};

use super::super::Overview;
use crate::text;
use crate::views::tui::{
    draw::{length, pen::Pen},
    pages::Context,
};

pub fn draw(overview: &Overview, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    let snapshot = ctx.snapshot;
    let mut lines = Vec::new();
    if snapshot.taken_at.is_empty() {
        lines.push(("Looking around...".to_string(), theme.strong()));
    } else if overview.table.count().1 > 0 {
        lines.push(("No row passes the filter.".into(), theme.strong()));
        lines.push(("Esc clears it.".into(), theme.quiet()));
    } else {
        let known = snapshot.libraries.iter().filter(|l| l.problem.is_none());
        for words in [
            "No process holds accelerator memory.",
            "",
            "Waiting for a process to load a known runtime library,",
            "such as libtt_metal.so: it appears here as soon as it does.",
        ] {
            let style = if lines.is_empty() {
                theme.strong()
            } else {
                theme.plain()
            };
            lines.push((words.into(), style));
        }
        for library in known.take(3) {
            let path = text::visible(&library.path);
            lines.push((format!("watching {path}"), theme.quiet()));
        }
        lines.push((String::new(), theme.plain()));
        lines.push((
            "Expected one already? `memmon-ebpf doctor` says what is in the way.".into(),
            theme.quiet(),
        ));
    }
    let top = usize::from(area.height).saturating_sub(lines.len()) / 2;
    for (nth, (words, style)) in lines.iter().enumerate() {
        let indent = usize::from(area.width).saturating_sub(text::width(words)) / 2;
        Pen::new(buffer, area, length(top + nth), theme)
            .skip(indent)
            .put(words, *style);
    }
}
