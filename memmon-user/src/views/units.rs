//! Numbers as people read them. What is not known is `?`, never 0.

pub const UNKNOWN: &str = "?";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// `9.31 GiB`
    Human,
    /// `9.31G`
    Short,
    /// `9996861440`
    Exact,
}

impl Bytes {
    pub fn format(self, bytes: u64) -> String {
        match self {
            Self::Human => human(bytes, true),
            Self::Short => human(bytes, false),
            Self::Exact => bytes.to_string(),
        }
    }

    pub fn format_or_unknown(self, bytes: Option<u64>) -> String {
        bytes.map_or_else(|| UNKNOWN.into(), |b| self.format(b))
    }
}

pub fn count_or_unknown(count: Option<u64>) -> String {
    count.map_or_else(|| UNKNOWN.into(), |c| c.to_string())
}

/// With thousands separated: `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 process`, `2,000 processes`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// Three significant digits in a power of 1024; below 1 KiB exact.
fn human(bytes: u64, long: bool) -> String {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1024 {
        return if long {
            format!("{bytes} B")
        } else {
            format!("{bytes}B")
        };
    }
    let mut unit = (bytes.ilog2() / 10 - 1) as usize;
    let hundredths = |unit: usize| {
        let one = 1_u128 << (10 * (unit + 1));
        (u128::from(bytes) * 100 + one / 2) / one
    };
    // 1023.9 KiB rounds to 1024 KiB, which is 1 MiB.
    if hundredths(unit) >= 102_350 && unit + 1 < UNITS.len() {
        unit += 1;
    }
    let value = hundredths(unit);
    let number = match value {
        0..1_000 => format!("{}.{:02}", value / 100, value % 100),
        1_000..10_000 => {
            let tenths = (value + 5) / 10;
            if tenths == 1_000 {
                "100".into()
            } else {
                format!("{}.{}", tenths / 10, tenths % 10)
            }
        }
        _ => ((value + 50) / 100).to_string(),
    };
    let unit = UNITS[unit];
    if long {
        format!("{number} {unit}iB")
    } else {
        format!("{number}{unit}")
    }
}

/// How full, in whole percent rounded down: 100 only when really full.
pub fn percent(used: u64, capacity: u64) -> Option<u64> {
    (capacity > 0)
        .then(|| u64::try_from(u128::from(used) * 100 / u128::from(capacity)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_235, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (1_047_552, "1023 KiB"),
            (104_857_599, "100 MiB"),
            (9_996_861_440, "9.31 GiB"),
            (12_884_901_888, "12.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes::Human.format(bytes), text);
        }
        assert_eq!(Bytes::Short.format(9_996_861_440), "9.31G");
        assert_eq!(Bytes::Exact.format(5), "5");
        assert_eq!(Bytes::Human.format_or_unknown(None), "?");
    }

    #[test]
    fn full_means_full() {
        assert_eq!(percent(999, 1000), Some(99));
        assert_eq!(percent(1000, 1000), Some(100));
        assert_eq!(percent(1, 0), None);
        assert_eq!(percent(u64::MAX, 1), Some(u64::MAX));
    }

    #[test]
    fn thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }
}
