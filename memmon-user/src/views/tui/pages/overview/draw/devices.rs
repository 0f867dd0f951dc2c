//! How full the devices are: one line each, a bar for each pool whose capacity is known.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{cards, device_ask};
use crate::tables::live::DeviceAsk;
use crate::tables::snapshot::{Device, Pool};
use crate::text;
use crate::views::pools;
use crate::views::tui::{
    draw::{bar, length, pen::Pen},
    pages::Context,
    units::Units,
};
use crate::views::units::{Bytes, UNKNOWN, counted};

const GAP: usize = 3;
const SIZE: usize = 6;
const PERCENT: usize = 4;
/// The first pool's bar takes what is left, between these.
const FIRST_BAR: (usize, usize) = (6, 40);
const OTHER_BAR: usize = 8;
/// The last minutes of the first pool: in so many cells, from such a width on.
const PAST: usize = GAP + 20;
const WITH_PAST: u16 = 120;

/// How many lines it would like of what there is.
pub fn wanted(ctx: &Context<'_>, height: u16) -> u16 {
    let devices = length(ctx.snapshot.devices.len());
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

/// Returns where each device is.
pub fn draw(area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) -> Vec<(Rect, DeviceAsk)> {
    let theme = ctx.theme;
    let devices = &ctx.snapshot.devices;
    if area.height == 0 || devices.is_empty() {
        return Vec::new();
    }
    let pools = pools_of(devices);
    let labels = devices
        .iter()
        .map(|device| text::width(&ctx.device_and_kind(device)));
    let widest = labels.max().unwrap_or(0);
    let label_width = widest.clamp("DEVICE".len(), usize::from(area.width / 4).max(6));
    let past = if area.width >= WITH_PAST { PAST } else { 0 };
    let room = usize::from(area.width).saturating_sub(label_width + past);
    let places = places(room, &pools);

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
    if let (Some(first), true) = (pools.first(), past > 0) {
        let words = format!("{}, 5 MIN", text::visible(first));
        pen.skip(GAP).put(&words, theme.title());
    }
    let room = usize::from(area.height - 1);
    let (shown, left_out) = fullest(devices, room);
    let mut drawn = Vec::new();
    for (line, &at) in shown.iter().enumerate() {
        let device = &devices[at];
        let mut pen = Pen::new(buffer, area, length(line + 1), theme);
        pen.left(&ctx.device_and_kind(device), label_width, theme.strong());
        for (name, place, first) in &columns {
            let (own, column) = (place.width(*first), place.column(*first, name));
            pen.skip(GAP);
            match device.pools.iter().find(|p| p.pool == **name) {
                Some(pool) => draw_pool(&mut pen, pool, *place, *first, ctx),
                None => {
                    pen.skip(own);
                }
            }
            pen.skip(column - own);
        }
        if let Some(pool) = device.pools.iter().find(|p| Some(&p.pool) == pools.first())
            && past > 0
        {
            let words = cards::past_of(device, pool, past - GAP, ctx);
            pen.skip(GAP).put(&words, bar::style(pool, theme));
        }
        let place = Rect {
            y: area.y + length(line + 1),
            height: 1,
            ..area
        };
        drawn.push((place, device_ask(device)));
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
    drawn
}

fn draw_pool(pen: &mut Pen<'_>, pool: &Pool, place: Place, first: bool, ctx: &Context<'_>) {
    let theme = ctx.theme;
    let style = bar::style(pool, theme);
    if place.bar > 0 {
        bar::bar(pen, pool, place.bar, theme);
        pen.skip(1);
    }
    if place.sizes {
        // A share stands beside it anyway, and there is no room for all digits.
        let size = |bytes: Option<u64>| match ctx.units {
            Units::Mib => bytes.map_or_else(|| UNKNOWN.into(), |b| format!("{}M", b >> 20)),
            _ => Bytes::Short.format_or_unknown(bytes),
        };
        pen.right(&size(pool.charged_bytes), SIZE, theme.strong());
        if first {
            pen.put(" / ", theme.quiet())
                .left(&size(pool.capacity_bytes), SIZE, theme.plain());
        }
        pen.skip(1);
    }
    let full = bar::fullness(pool).map_or_else(|| UNKNOWN.into(), |full| format!("{full}%"));
    pen.right(&full, PERCENT, style);
}

fn pools_of(devices: &[Device]) -> Vec<String> {
    let mut found: Vec<&str> = Vec::new();
    for pool in devices.iter().flat_map(|d| &d.pools) {
        if !found.contains(&pool.pool.as_str()) {
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
    let fullness = |at: usize| devices[at].pools.iter().filter_map(bar::fullness).max();
    order.sort_by_key(|&at| std::cmp::Reverse(fullness(at)));
    let left_out = order.split_off(room.saturating_sub(1));
    order.sort_unstable();
    (order, Some(left_out.first().and_then(|&at| fullness(at))))
}
