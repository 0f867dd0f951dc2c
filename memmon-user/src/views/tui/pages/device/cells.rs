//! A lane to scale: so many cells, each an equal part of its addresses.

use super::lanes::{Gap, Lane};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// How many bytes it stands for.
    pub size: u64,
    pub taken: u64,
    /// The block that has most of it.
    pub block: Option<usize>,
    /// How many blocks have a part in it.
    pub blocks: usize,
    /// Whether the largest free block has most of what is free in it.
    pub is_largest_free: bool,
}

/// Where a cell begins, from the beginning of the lane.
pub fn edge(lane: &Lane, count: usize, nth: usize) -> u64 {
    let at = u128::from(lane.length) * nth.min(count) as u128 / (count.max(1) as u128);
    u64::try_from(at).unwrap_or(lane.length)
}

/// The cell of an address.
pub fn cell_of(lane: &Lane, count: usize, address: u64) -> usize {
    let from_base = address.saturating_sub(lane.base);
    let near = u128::from(from_base) * count as u128 / u128::from(lane.length.max(1));
    let mut cell = usize::try_from(near)
        .unwrap_or(count)
        .min(count.saturating_sub(1));
    // Edges are rounded down: the right cell may be the next one.
    while cell + 1 < count && edge(lane, count, cell + 1) <= from_base {
        cell += 1;
    }
    cell
}

pub fn cells(lane: &Lane, count: usize) -> Vec<Cell> {
    let mut cells: Vec<Cell> = (0..count)
        .map(|nth| Cell {
            size: edge(lane, count, nth + 1) - edge(lane, count, nth),
            ..Cell::default()
        })
        .collect();
    let mut most = vec![0; count];
    for (nth, block) in lane.blocks.iter().enumerate() {
        each_part(lane, count, block.address, block.size, |at, bytes| {
            let cell = &mut cells[at];
            cell.taken += bytes;
            cell.blocks += 1;
            if bytes > most[at] {
                most[at] = bytes;
                cell.block = Some(nth);
            }
        });
    }
    if let Some(Gap { address, size }) = lane.free().largest {
        each_part(lane, count, address, size, |at, bytes| {
            let cell = &mut cells[at];
            cell.is_largest_free = bytes.saturating_mul(2) > cell.size - cell.taken;
        });
    }
    cells
}

/// The cells that a range lies in, and how many of its bytes in each.
fn each_part(lane: &Lane, count: usize, address: u64, size: u64, mut each: impl FnMut(usize, u64)) {
    let (mut from, end) = (address - lane.base, address - lane.base + size);
    let mut cell = cell_of(lane, count, address);
    while from < end && cell < count {
        let to = edge(lane, count, cell + 1).min(end);
        if to > from {
            each(cell, to - from);
            from = to;
        }
        cell += 1;
    }
}

/// How full each cell is drawn, in so many steps. What is rounded off one cell is made up for by the next: what is
/// taken on the screen is what is taken. Full cells are drawn full, and empty ones empty.
pub fn levels(cells: &[Cell], steps: u32) -> Vec<u32> {
    let mut owed = 0.0;
    cells
        .iter()
        .map(|cell| {
            if cell.size == 0 {
                return 0;
            }
            let exact = cell.taken as f64 / cell.size as f64 * f64::from(steps) + owed;
            let level = (exact + 0.5).floor().clamp(0.0, f64::from(steps));
            owed = exact - level;
            level as u32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lanes::Block;
    use super::*;

    fn lane(base: u64, pieces: &[(u64, u64)], rest: u64) -> Lane {
        let mut at = base;
        let mut blocks = Vec::new();
        for (nth, (gap, size)) in pieces.iter().enumerate() {
            blocks.push(Block {
                address: at + gap,
                size: *size,
                nth,
            });
            at += gap + size;
        }
        Lane {
            base,
            length: at + rest - base,
            banks: 1,
            blocks,
            ..Lane::default()
        }
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(
            base in 0_u64..1 << 40,
            pieces in prop::collection::vec((0_u64..1 << 30, 1_u64..1 << 30), 0..60),
            rest in 1_u64..1 << 33,
            count in 1_usize..900,
        ) {
            let lane = lane(base, &pieces, rest);
            let cells = cells(&lane, count);
            prop_assert_eq!(cells.iter().map(|cell| cell.size).sum::<u64>(), lane.length);
            prop_assert_eq!(cells.iter().map(|cell| cell.taken).sum::<u64>(), lane.taken());
            for (nth, cell) in cells.iter().enumerate() {
                prop_assert!(cell.taken <= cell.size);
                prop_assert_eq!(cell.block.is_some(), cell.taken > 0);
                let (from, to) = (edge(&lane, count, nth), edge(&lane, count, nth + 1));
                let own: u64 = lane.blocks.iter().map(|block| {
                    let start = (block.address - base).max(from);
                    (block.address - base + block.size).min(to).saturating_sub(start)
                }).sum();
                prop_assert_eq!(cell.taken, own);
                if from < to {
                    prop_assert_eq!(cell_of(&lane, count, base + from), nth);
                    prop_assert_eq!(cell_of(&lane, count, base + to - 1), nth);
                }
            }
        }

        /// What one sees is the share that is taken, to half a step in the whole lane.
        #[test]
        fn the_screen_tells_the_share(
            pieces in prop::collection::vec((0_u64..1 << 30, 1_u64..1 << 30), 0..200),
            rest in 1_u64..1 << 33,
            count in 1_usize..900,
            steps in prop::sample::select(vec![1_u32, 2, 8]),
        ) {
            let lane = lane(0, &pieces, rest);
            let cells = cells(&lane, count);
            let levels = levels(&cells, steps);
            let drawn = f64::from(levels.iter().sum::<u32>()) / f64::from(steps);
            let share = lane.taken() as f64 / lane.length as f64 * count as f64;
            prop_assert!((drawn - share).abs() <= 0.5 / f64::from(steps) + 1e-3, "{drawn} {share}");
            for (cell, level) in cells.iter().zip(&levels) {
                prop_assert!(cell.taken > 0 || *level == 0, "free is free");
                prop_assert!(cell.taken < cell.size || *level == steps, "full is full");
            }
        }
    }

    #[test]
    fn whoever_has_most_of_a_cell_names_it() {
        let lane = lane(1000, &[(0, 30), (10, 60), (150, 20)], 130);
        let cells = cells(&lane, 4);
        assert_eq!(cells[0].block, Some(1));
        assert_eq!((cells[0].taken, cells[0].blocks), (90, 2));
        assert_eq!((cells[2].taken, cells[2].block), (20, Some(2)));
        let largest: Vec<bool> = cells.iter().map(|cell| cell.is_largest_free).collect();
        assert_eq!(largest, [false, true, true, false]);
    }

    #[test]
    fn a_lane_smaller_than_the_screen() {
        let lane = lane(0, &[(1, 1)], 1);
        let cells = cells(&lane, 10);
        assert_eq!(cells.iter().map(|cell| cell.taken).sum::<u64>(), 1);
        assert_eq!(levels(&cells, 8).iter().sum::<u32>(), 8);
        assert!(super::cells(&lane, 0).is_empty());
    }
}
