//! A line of history, one cell for each span of time.

use super::super::theme::Theme;

/// `most` fills a cell. Whatever is more than nothing is seen; what is not known is blank.
pub fn spark(amounts: &[Option<u64>], most: u64, theme: Theme) -> String {
    let levels = theme.signs.spark;
    let top = levels.len() - 1;
    let sign = |amount: &Option<u64>| match amount {
        None => " ",
        Some(amount) => {
            let part = u128::from((*amount).min(most)) * top as u128;
            let level = part.div_ceil(u128::from(most.max(1)));
            levels[usize::try_from(level).unwrap_or(top).min(top)]
        }
    };
    amounts.iter().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_nothing_to_full() {
        let theme = Theme::new(true, false);
        let amounts = [None, Some(0), Some(1), Some(50), Some(100), Some(500)];
        assert_eq!(spark(&amounts, 100, theme), " ▁▂▅██");
        assert_eq!(spark(&amounts, 0, theme), " ▁▁▁▁▁", "no scale");
        assert!(spark(&amounts, 100, Theme::new(true, true)).is_ascii());
    }
}
