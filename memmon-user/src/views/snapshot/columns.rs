//! Aligned columns of text that fit a width: the least wanted columns go first, then the last one is cut.

use crate::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    pub align: Align,
    /// 0 always stays; the highest goes first.
    pub spare: u8,
}

pub const fn column(title: &'static str, align: Align, spare: u8) -> Column {
    Column {
        title,
        align,
        spare,
    }
}

const GAP: usize = 2;
/// A last column narrower than this says nothing.
const LEAST: usize = 12;

/// Lines, the titles first. Cells must be visible text already.
pub fn layout(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, c)| {
            let cells = rows
                .iter()
                .map(|r| r.get(at).map_or(0, |cell| text::width(cell)));
            cells.chain([c.title.len()]).max().unwrap_or(0)
        })
        .collect();
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    if let Some(width) = width {
        narrow(columns, &mut shown, &mut widths, width);
    }
    let mut out = String::new();
    let titles: Vec<String> = columns.iter().map(|c| c.title.to_string()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (nth, &at) in shown.iter().enumerate() {
            let cell = row.get(at).map_or("", String::as_str);
            let cell = if text::width(cell) > widths[at] {
                text::fit(cell, widths[at], "…")
            } else {
                cell.into()
            };
            let pad = " ".repeat(widths[at].saturating_sub(text::width(&cell)));
            if nth > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            match columns[at].align {
                Align::Left => line.extend([cell, pad]),
                Align::Right => line.extend([pad, cell]),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn narrow(columns: &[Column], shown: &mut Vec<usize>, widths: &mut [usize], width: usize) {
    loop {
        let total: usize = shown
            .iter()
            .map(|&at| widths[at] + GAP)
            .sum::<usize>()
            .saturating_sub(GAP);
        let Some(&last) = shown.last() else { return };
        let over = total.saturating_sub(width);
        if widths[last].saturating_sub(over) >= widths[last].min(LEAST) {
            widths[last] -= over;
            return;
        }
        let spare = shown
            .iter()
            .copied()
            .filter(|&at| columns[at].spare > 0)
            .max_by_key(|&at| columns[at].spare);
        match spare {
            Some(spare) => shown.retain(|&at| at != spare),
            None => {
                widths[last] = widths[last].saturating_sub(over).max(1);
                return;
            }
        }
    }
}
