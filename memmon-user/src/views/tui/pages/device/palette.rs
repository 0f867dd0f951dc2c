//! Which process has which colour, and which letter where there are no colours.

use std::collections::BTreeMap;

/// A process keeps its place for as long as it is there.
#[derive(Clone, Debug, Default)]
pub struct Palette {
    places: BTreeMap<u32, usize>,
}

impl Palette {
    /// Those that are there now.
    pub fn meet(&mut self, pids: &[u32]) {
        self.places.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            if !self.places.contains_key(pid) {
                let taken: Vec<usize> = self.places.values().copied().collect();
                let place = (0..).find(|place| !taken.contains(place));
                self.places.insert(*pid, place.unwrap_or_default());
            }
        }
    }

    pub fn place(&self, pid: u32) -> usize {
        self.places.get(&pid).copied().unwrap_or_default()
    }

    /// `A` to `Z`, and from the beginning again.
    pub fn letter(&self, pid: u32) -> char {
        let nth = (self.place(pid) % 26) as u8;
        char::from(b'A' + nth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_letter() {
        let mut palette = Palette::default();
        palette.meet(&[30, 10]);
        palette.meet(&[10, 20, 30]);
        assert_eq!([30, 10, 20].map(|pid| palette.letter(pid)), ['A', 'B', 'C']);
        palette.meet(&[20, 30]);
        palette.meet(&[20, 30, 40]);
        assert_eq!([30, 40, 20].map(|pid| palette.letter(pid)), ['A', 'B', 'C']);
        palette.meet(&(0..30).collect::<Vec<_>>());
        assert!((0..30).all(|pid| palette.letter(pid).is_ascii_uppercase()));
    }
}
