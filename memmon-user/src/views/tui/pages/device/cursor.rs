//! What one points at: an address of an allocator, wherever it is drawn.

use super::{
    DevicePage,
    cells::{Cell, cell_of, cells, edge},
    lanes::{Gap, Lane},
};
use crate::views::tui::{keys::Key, pages::Reaction};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub pid: u32,
    pub owner: u64,
    pub address: u64,
    /// Whether this very address is meant, or all that is drawn in its cell.
    pub exact: bool,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    Block {
        nth: usize,
        /// How many there are in the cell.
        of: usize,
    },
    Free(Gap),
}

impl Cursor {
    pub fn at_cell(lane: &Lane, count: usize, cell: usize) -> Self {
        let cell = cell.min(count.saturating_sub(1));
        Self {
            pid: lane.pid,
            owner: lane.owner,
            address: lane.base + edge(lane, count, cell),
            exact: false,
        }
    }

    fn at_address(lane: &Lane, address: u64) -> Self {
        Self {
            pid: lane.pid,
            owner: lane.owner,
            address,
            exact: true,
        }
    }

    pub fn is_in(&self, lane: &Lane) -> bool {
        (self.pid, self.owner) == (lane.pid, lane.owner)
    }

    pub fn cell(&self, lane: &Lane, count: usize) -> usize {
        cell_of(lane, count, self.address)
    }

    pub fn under(&self, lane: &Lane, count: usize) -> Option<Under> {
        let cell: Cell = *cells(lane, count).get(self.cell(lane, count))?;
        let nth = match lane.block_at(self.address).filter(|_| self.exact) {
            None if self.exact => None,
            exact => exact.or(cell.block),
        };
        match nth {
            Some(nth) => Some(Under::Block {
                nth,
                of: cell.blocks,
            }),
            None => lane.gap_at(self.address).map(Under::Free),
        }
    }
}

impl DevicePage {
    /// Which lane the cursor is in, if it is.
    pub(super) fn pointed(&self) -> Option<(usize, Cursor)> {
        let cursor = self.cursor?;
        let nth = self.lanes.iter().position(|lane| cursor.is_in(lane))?;
        Some((nth, cursor))
    }

    pub(super) fn scroll(&mut self, step: isize) -> Reaction {
        let last = self.lanes.len().saturating_sub(1);
        self.first = self.first.saturating_add_signed(step).min(last);
        self.cursor = None;
        Reaction::Draw
    }

    pub(super) fn move_cursor(&mut self, key: Key) -> Reaction {
        let step = match key {
            Key::Left => -1,
            Key::Right => 1,
            Key::Up => -(self.drawn.columns.cast_signed()),
            Key::Down => self.drawn.columns.cast_signed(),
            Key::PageUp | Key::PageDown | Key::Home | Key::End => 0,
            Key::Char('[' | ']' | 'l') => 0,
            _ => return Reaction::Ignored,
        };
        let Some(first) = self
            .lanes
            .get(self.first.min(self.lanes.len().saturating_sub(1)))
        else {
            return Reaction::Ignored;
        };
        let count = self.drawn.count();
        let (nth, cursor) = self.pointed().unwrap_or_else(|| {
            let nth = self.first.min(self.lanes.len() - 1);
            (nth, Cursor::at_cell(first, count, 0))
        });
        let is_new = self.pointed().is_none();
        let lane = &self.lanes[nth];
        self.cursor = Some(match key {
            Key::Home => Cursor::at_cell(lane, count, 0),
            Key::End => Cursor::at_cell(lane, count, count),
            Key::PageUp => self.start_of(nth.saturating_sub(1)),
            Key::PageDown => self.start_of(nth + 1),
            Key::Char('l') => match lane.free().largest {
                Some(gap) => Cursor::at_address(lane, gap.address),
                None => cursor,
            },
            Key::Char('[') => before(lane, cursor),
            Key::Char(']') => after(lane, cursor, is_new),
            _ if is_new => cursor,
            _ => self.by_cells(nth, cursor, step),
        });
        Reaction::Draw
    }

    fn start_of(&self, nth: usize) -> Cursor {
        let nth = nth.min(self.lanes.len() - 1);
        Cursor::at_cell(&self.lanes[nth], self.drawn.count(), 0)
    }

    /// Beyond a lane's end lies the next one.
    fn by_cells(&self, nth: usize, cursor: Cursor, step: isize) -> Cursor {
        let count = self.drawn.count();
        let cell = cursor.cell(&self.lanes[nth], count).cast_signed() + step;
        let whole = count.cast_signed();
        let (nth, cell) = match cell {
            ..0 if nth > 0 => (nth - 1, cell + whole),
            ..0 => (nth, if step == -1 { 0 } else { cell - step }),
            cell if cell < whole => (nth, cell),
            cell if nth + 1 < self.lanes.len() => (nth + 1, cell - whole),
            cell => (nth, if step == 1 { whole - 1 } else { cell - step }),
        };
        Cursor::at_cell(&self.lanes[nth], count, usize::try_from(cell).unwrap_or(0))
    }
}

fn before(lane: &Lane, cursor: Cursor) -> Cursor {
    let nth = lane
        .blocks
        .partition_point(|block| block.address < cursor.address);
    let block = nth.checked_sub(1).and_then(|nth| lane.blocks.get(nth));
    block.map_or(cursor, |block| Cursor::at_address(lane, block.address))
}

fn after(lane: &Lane, cursor: Cursor, or_here: bool) -> Cursor {
    let is_before =
        |address: u64| address < cursor.address || (address == cursor.address && !or_here);
    let nth = lane
        .blocks
        .partition_point(|block| is_before(block.address));
    let block = lane.blocks.get(nth);
    block.map_or(cursor, |block| Cursor::at_address(lane, block.address))
}
