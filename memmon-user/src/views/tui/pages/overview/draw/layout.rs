//! Which columns there is room for, and how wide each is.

use super::super::column::Column;
use super::super::table::Table;
use crate::text;
use crate::views::tui::{pages::Context, units::Units};

pub const GAP: usize = 2;
/// A command shorter than this says nothing; longer than that may well be cut.
const COMMAND: (usize, usize) = (12, 28);

#[derive(Debug)]
pub struct Layout {
    pub columns: Vec<(Column, usize)>,
    /// Sizes are written as short as can be.
    pub short: bool,
}

/// All columns where there is room; else shorter sizes; else without the columns one misses least.
pub fn layout(table: &Table, ctx: &Context<'_>, width: usize) -> Layout {
    let devices = &ctx.snapshot.devices;
    let pools = devices.iter().flat_map(|device| &device.pools);
    // Not every runtime says how much there is.
    let largest = pools
        .filter_map(|pool| pool.capacity_bytes.max(pool.peak_charged_bytes))
        .max();
    let measure = Measure {
        units: ctx.units,
        largest: largest.unwrap_or(0),
        many_runtimes: ctx.many_runtimes,
    };
    let mut columns = Column::all(table.pools());
    let mut short = false;
    if measure.all(&columns, short) + COMMAND.1 - COMMAND.0 > width {
        short = true;
    }
    while measure.all(&columns, short) > width {
        let numbered = columns.iter().enumerate();
        let spare = numbered.filter_map(|(at, column)| Some((spare(column, table.pools())?, at)));
        match spare.max() {
            Some((_, at)) => columns.remove(at),
            None => break,
        };
    }
    let left = width.saturating_sub(measure.all(&columns, short));
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| {
            let more = if *column == Column::Command { left } else { 0 };
            measure.one(column, short) + more
        })
        .collect();
    Layout {
        columns: columns.into_iter().zip(widths).collect(),
        short,
    }
}

struct Measure {
    units: Units,
    largest: u64,
    many_runtimes: bool,
}

impl Measure {
    fn all(&self, columns: &[Column], short: bool) -> usize {
        let widths = columns.iter().map(|column| self.one(column, short) + GAP);
        widths.sum::<usize>().saturating_sub(GAP)
    }

    fn one(&self, column: &Column, short: bool) -> usize {
        let least = match column {
            Column::Pid => 7,
            Column::User => 8,
            Column::Command => COMMAND.0,
            Column::Device if self.many_runtimes => 10,
            Column::Device => 4,
            // One cell for `~`, where there is room.
            Column::Pool(_) | Column::Peak => {
                self.units.width_for(short, self.largest) + usize::from(!short)
            }
            Column::Live | Column::Allocations | Column::Failed | Column::Age => 6,
            Column::Rate => 5,
            Column::Since | Column::State => 9,
        };
        // One cell for the arrow.
        least.max(text::width(&text::visible(column.title())).min(14) + 1)
    }
}

/// The column with the highest number goes first; none stays.
fn spare(column: &Column, pools: &[String]) -> Option<usize> {
    Some(match column {
        Column::Pid | Column::Command => return None,
        Column::Pool(pool) => match pools.iter().position(|p| p == pool) {
            Some(0) => return None,
            Some(at) => 10 + at,
            None => 99,
        },
        Column::Device => 1,
        Column::User => 11,
        Column::Peak => 12,
        Column::Failed => 13,
        Column::Live => 30,
        Column::Rate => 31,
        Column::Age => 32,
        Column::State => 33,
        Column::Allocations => 34,
        Column::Since => 35,
    })
}
