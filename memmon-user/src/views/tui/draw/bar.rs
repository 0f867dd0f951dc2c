//! How full a pool is: used solid, up to the peak a line, the rest dotted.

use ratatui::style::Style;

use super::pen::Pen;
use crate::tables::snapshot::Pool;
use crate::views::tui::theme::Theme;
use crate::views::units::percent;

/// How full, in percent; none where that is not known.
pub fn fullness(pool: &Pool) -> Option<u64> {
    let (used, capacity) = pool.charged_bytes.zip(pool.capacity_bytes)?;
    percent(used, capacity)
}

/// The style of a pool's amounts: its colour says how full it is.
pub fn style(pool: &Pool, theme: Theme) -> Style {
    fullness(pool).map_or(theme.warning(), |full| theme.level(full))
}

pub fn bar(pen: &mut Pen<'_>, pool: &Pool, width: usize, theme: Theme) {
    let signs = theme.signs;
    let known = fullness(pool).and(pool.charged_bytes.zip(pool.capacity_bytes));
    let Some((used, capacity)) = known else {
        pen.left(&signs.bar_rest.repeat(width), width, theme.quiet());
        return;
    };
    let style = style(pool, theme);
    let steps = signs.bar.len() - 1;
    let cells = |bytes: u64, per_cell: usize| {
        let whole = (width * per_cell) as u128;
        let part = u128::from(bytes.min(capacity)) * whole;
        // Rounded up: whoever holds anything is seen to.
        usize::try_from(part.div_ceil(u128::from(capacity.max(1)))).unwrap_or(0)
    };
    let filled = cells(used, steps);
    let mut bar = signs.bar[steps].repeat(filled / steps);
    if filled % steps > 0 {
        bar.push_str(signs.bar[filled % steps]);
    }
    let solid = filled.div_ceil(steps);
    let peak = pool
        .peak_charged_bytes
        .map_or(0, |peak| cells(peak, 1))
        .max(solid);
    pen.put(&bar, style);
    pen.put(&signs.bar_peak.repeat(peak - solid), style);
    pen.put(&signs.bar_rest.repeat(width - peak), theme.quiet());
}
