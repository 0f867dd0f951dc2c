//! How amounts of bytes are shown; the reader chooses.

use crate::views::units::{Bytes, UNKNOWN, grouped, percent};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Units {
    /// `9.31 GiB`
    #[default]
    Auto,
    /// `9,996,861,440`
    Bytes,
    /// `9533.8M`
    Mib,
    /// `77.6%` of the pool; where its capacity is not known, as `Auto`.
    Percent,
}

impl Units {
    pub fn next(self) -> Self {
        match self {
            Self::Auto => Self::Bytes,
            Self::Bytes => Self::Mib,
            Self::Mib => Self::Percent,
            Self::Percent => Self::Auto,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bytes => "bytes",
            Self::Mib => "MiB",
            Self::Percent => "% of pool",
        }
    }

    /// The most cells that an amount takes; for amounts up to 999 GiB.
    pub fn width(self, short: bool) -> usize {
        match (self, short) {
            (Self::Auto, true) => 6,
            (Self::Auto, false) => 8,
            (Self::Bytes, _) => 17,
            (Self::Mib, _) => 10,
            (Self::Percent, _) => 6,
        }
    }

    /// The cells that amounts up to `largest` take.
    pub fn width_for(self, short: bool, largest: u64) -> usize {
        match self {
            Self::Bytes | Self::Mib => self.format(largest, None, short).len(),
            Self::Auto | Self::Percent => self.width(short),
        }
    }

    /// `capacity` is that of the pool; `short` where there is little room.
    pub fn format(self, bytes: u64, capacity: Option<u64>, short: bool) -> String {
        let auto = if short { Bytes::Short } else { Bytes::Human };
        match self {
            Self::Auto => auto.format(bytes),
            Self::Bytes => grouped(bytes),
            Self::Mib => {
                let tenths = (u128::from(bytes) * 10 + (1 << 19)) >> 20;
                format!("{}.{}M", tenths / 10, tenths % 10)
            }
            Self::Percent => {
                match capacity.and_then(|all| percent(bytes.saturating_mul(10), all)) {
                    Some(tenths) => format!("{}.{}%", tenths / 10, tenths % 10),
                    None => auto.format(bytes),
                }
            }
        }
    }

    pub fn format_or_unknown(
        self,
        bytes: Option<u64>,
        capacity: Option<u64>,
        short: bool,
    ) -> String {
        bytes.map_or_else(
            || UNKNOWN.into(),
            |bytes| self.format(bytes, capacity, short),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_in_every_unit() {
        let (bytes, capacity) = (9_996_861_440, Some(12 << 30));
        let shown = |units: Units, short| units.format(bytes, capacity, short);
        assert_eq!(shown(Units::Auto, false), "9.31 GiB");
        assert_eq!(shown(Units::Auto, true), "9.31G");
        assert_eq!(shown(Units::Bytes, true), "9,996,861,440");
        assert_eq!(shown(Units::Mib, true), "9533.8M");
        assert_eq!(shown(Units::Percent, true), "77.5%");
        assert_eq!(Units::Percent.format(bytes, None, true), "9.31G");
        assert_eq!(Units::Mib.format_or_unknown(None, None, true), "?");
    }

    #[test]
    fn no_amount_is_wider_than_said() {
        let mut units = Units::Auto;
        for _ in 0..4 {
            for bytes in [0, 1023, 1 << 20, (1 << 30) - 1, 12 << 30, 999 << 30] {
                for short in [false, true] {
                    let words = units.format(bytes, Some(999 << 30), short);
                    assert!(words.len() <= units.width(short), "{words} {units:?}");
                }
            }
            units = units.next();
        }
        assert_eq!(units, Units::Auto, "round");
    }
}
