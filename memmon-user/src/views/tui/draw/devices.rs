//! How full the devices are: one line each, a bar for each pool whose capacity is known.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::super::theme::Theme;
use super::length;
use super::pen::Pen;
use crate::tables::snapshot::{Device, Pool};
use crate::views::pools::{self, CIRCULAR_BUFFERS};
use crate::views::text;
use crate::views::units::{Bytes, UNKNOWN, counted, percent};

const GAP: usize = 3;
const SIZE: usize = 6;
const PERCENT: usize = 4;
/// The first pool's bar takes what is left, between these.
const FIRST_BAR: (usize, usize) = (6, 40);
const OTHER_BAR: usize = 8;

/// How many lines it would like of what there is.
pub fn wanted(app: &App, height: u16) -> u16 {
    let devices = length(app.snapshot().devices.len());
    if devices == 0 || height < 5 {
        return 0;
    }
    (devices + 1).min((height / 3).max(3)).min(height - 3)
}

/// How a pool is shown: its bar, its sizes, or the percentage alone.
#[derive(Clone, Copy, Debug)]
struct Place {
    bar: usize,
    sizes: bool,
}

impl Place {
    fn width(self, first: bool) -> usize {
        let bar = if self.bar > 0 { self.bar + 1 } else { 0 };
        let sizes = match (self.sizes, first) {
            (true, true) => SIZE + 3 + SIZE + 1,
            (true, false) => SIZE + 1,
            (false, _) => 0,
        };
        bar + sizes + PERCENT
    }

    /// Wide enough for the title, too.
    fn column(self, first: bool, title: &str) -> usize {
        self.width(first).max(text::width(title))
    }
}

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let devices = &app.snapshot().devices;
    let pools = pools_of(devices);
    let many_runtimes = devices.iter().any(|d| d.runtime != devices[0].runtime);
    let label = |d: &Device| label(d, devices, many_runtimes);
    let widest = devices
        .iter()
        .map(|d| text::width(&label(d)))
        .max()
        .unwrap_or(0);
    let label_width = widest.clamp("DEVICE".len(), usize::from(area.width / 4).max(6));
    let places = places(usize::from(area.width).saturating_sub(label_width), &pools);

    let mut pen = Pen::new(buffer, area, 0, theme);
    pen.left("DEVICE", label_width, theme.title());
    let columns: Vec<(&String, Place, bool)> = pools
        .iter()
        .zip(places)
        .enumerate()
        .filter_map(|(nth, (pool, place))| Some((pool, place?, nth == 0)))
        .collect();
    for (pool, place, first) in &columns {
        let width = place.column(*first, pool);
        pen.skip(GAP)
            .left(&text::visible(pool), width, theme.title());
    }
    let room = usize::from(area.height - 1);
    let (shown, left_out) = fullest(devices, room);
    for (line, &at) in shown.iter().enumerate() {
        let device = &devices[at];
        let mut pen = Pen::new(buffer, area, length(line + 1), theme);
        pen.left(&label(device), label_width, theme.strong());
        for (name, place, first) in &columns {
            let (own, column) = (place.width(*first), place.column(*first, name));
            pen.skip(GAP);
            match device.pools.iter().find(|p| p.pool == **name) {
                Some(pool) => draw_pool(&mut pen, pool, *place, *first, theme),
                None => {
                    pen.skip(own);
                }
            }
            pen.skip(column - own);
        }
    }
    if let Some(most) = left_out {
        let count = counted(
            (devices.len() - shown.len()) as u64,
            "more device",
            "more devices",
        );
        let most = most.map_or_else(String::new, |p| format!(", none above {p}%"));
        Pen::new(buffer, area, length(room), theme).put(&format!("+ {count}{most}"), theme.quiet());
    }
}

fn draw_pool(pen: &mut Pen<'_>, pool: &Pool, place: Place, first: bool, theme: Theme) {
    let full = pool
        .charged_bytes
        .zip(pool.capacity_bytes)
        .and_then(|(used, capacity)| percent(used, capacity));
    let style = full.map_or(theme.warning(), |full| theme.level(full));
    if place.bar > 0 {
        draw_bar(pen, pool, place.bar, full.map(|_| style), theme);
        pen.skip(1);
    }
    if place.sizes {
        let size = |bytes: Option<u64>| Bytes::Short.format_or_unknown(bytes);
        pen.right(&size(pool.charged_bytes), SIZE, theme.strong());
        if first {
            pen.put(" / ", theme.quiet())
                .left(&size(pool.capacity_bytes), SIZE, theme.plain());
        }
        pen.skip(1);
    }
    let full = full.map_or_else(|| UNKNOWN.into(), |full| format!("{full}%"));
    pen.right(&full, PERCENT, style);
}

/// Used solid, up to the peak a line, the rest dotted.
fn draw_bar(
    pen: &mut Pen<'_>,
    pool: &Pool,
    width: usize,
    style: Option<ratatui::style::Style>,
    theme: Theme,
) {
    let signs = theme.signs;
    let (Some(style), Some(used), Some(capacity)) =
        (style, pool.charged_bytes, pool.capacity_bytes)
    else {
        pen.left(&signs.bar_rest.repeat(width), width, theme.quiet());
        return;
    };
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

fn label(device: &Device, devices: &[Device], with_runtime: bool) -> String {
    let id = pools::device_id(
        devices,
        &device.runtime,
        device.device,
        device.device_uid.as_deref(),
    );
    let runtime = if with_runtime {
        format!("{}:", text::visible(&device.runtime))
    } else {
        String::new()
    };
    match &device.name {
        Some(name) => format!("{runtime}{id} {}", text::visible(name)),
        None => format!("{runtime}{id}"),
    }
}

fn pools_of(devices: &[Device]) -> Vec<String> {
    let mut found: Vec<&str> = Vec::new();
    for pool in devices.iter().flat_map(|d| &d.pools) {
        if pool.pool != CIRCULAR_BUFFERS && !found.contains(&pool.pool.as_str()) {
            found.push(&pool.pool);
        }
    }
    found.sort_by(|a, b| pools::order(a, b));
    found.into_iter().map(String::from).collect()
}

/// What there is room for of each pool; none where a pool is left out. The first pool is served first.
fn places(width: usize, pools: &[String]) -> Vec<Option<Place>> {
    let mut places: Vec<Option<Place>> = vec![None; pools.len()];
    let mut room = width;
    let percent = Place {
        bar: 0,
        sizes: false,
    };
    let sizes = Place {
        bar: 0,
        sizes: true,
    };
    let bar = |bar: usize| Place { bar, sizes: true };
    let others = 1..pools.len();
    let mut give = |nth: usize, place: Place| grow(&mut places, nth, place, &mut room, pools);
    for place in [percent, sizes, bar(FIRST_BAR.0)] {
        give(0, place);
    }
    for place in [percent, sizes] {
        others.clone().for_each(|nth| give(nth, place));
    }
    give(0, bar(FIRST_BAR.1 / 2));
    others.for_each(|nth| give(nth, bar(OTHER_BAR)));
    for cells in FIRST_BAR.0..=FIRST_BAR.1 {
        give(0, bar(cells));
    }
    places
}

/// Gives a pool that place if there is room for it and it is more than the pool has.
fn grow(places: &mut [Option<Place>], nth: usize, to: Place, room: &mut usize, pools: &[String]) {
    let (Some(place), Some(pool)) = (places.get_mut(nth), pools.get(nth)) else {
        return;
    };
    let width = |place: Place| GAP + place.column(nth == 0, pool);
    let has = place.map_or(0, width);
    if let Some(more) = width(to).checked_sub(has)
        && more <= *room
        && place.is_none_or(|place| to.bar >= place.bar)
    {
        *room -= more;
        *place = Some(to);
    }
}

/// Which devices to show, and where some are left out, how full the fullest of those is.
fn fullest(devices: &[Device], room: usize) -> (Vec<usize>, Option<Option<u64>>) {
    let mut order: Vec<usize> = (0..devices.len()).collect();
    if devices.len() <= room {
        return (order, None);
    }
    let fullness = |at: usize| {
        let of = |p: &Pool| {
            p.charged_bytes
                .zip(p.capacity_bytes)
                .and_then(|(used, capacity)| percent(used, capacity))
        };
        devices[at].pools.iter().filter_map(of).max()
    };
    order.sort_by_key(|&at| std::cmp::Reverse(fullness(at)));
    let left_out = order.split_off(room.saturating_sub(1));
    order.sort_unstable();
    (order, Some(left_out.first().and_then(|&at| fullness(at))))
}
