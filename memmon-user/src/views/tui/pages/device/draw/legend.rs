//! In words: what is under the cursor, and which process has how much.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use ratatui::{buffer::Buffer, layout::Rect};

use super::super::{Context, DevicePage, cursor::Under, lanes::Lane, process};
use crate::{
    text,
    views::{
        tui::{draw::pen::Pen, moment},
        units::{UNKNOWN, counted, grouped},
    },
};

/// None where there is no cursor.
pub fn under(page: &DevicePage, ctx: &Context<'_>) -> Option<String> {
    let (nth, cursor) = page.pointed()?;
    let lane = &page.lanes[nth];
    Some(match cursor.under(lane, page.drawn_count())? {
        Under::Free(gap) => {
            let size = sizes(lane, gap.size, ctx);
            format!("{} free: {size}", span(gap.address, gap.size))
        }
        Under::Block { nth, of } => block(page, lane, nth, of, ctx),
    })
}

fn block(page: &DevicePage, lane: &Lane, nth: usize, of: usize, ctx: &Context<'_>) -> String {
    let block = lane.blocks[nth];
    let mut words = format!(
        "{} {}",
        span(block.address, block.size),
        sizes(lane, block.size, ctx)
    );
    let list = page.list.as_ref();
    if let Some(one) = list.and_then(|list| list.allocations.get(block.nth)) {
        let asked = ctx.units.format(one.requested_bytes, None, false);
        words += &format!(" ({asked} asked), by {}", who(lane.pid, ctx));
        if let Some(tid) = one.tid.filter(|tid| *tid != one.pid) {
            words += &format!(", thread {tid}");
        }
        words += &match one.age_ns {
            Some(age) => format!(", {} ago", moment::span(Duration::from_nanos(age))),
            None => ", before it was observed".into(),
        };
    }
    if of > 1 {
        words += &format!("; the largest of {of} here");
    }
    words
}

fn span(address: u64, size: u64) -> String {
    format!("{address:#x}-{:#x}", address + size)
}

fn sizes(lane: &Lane, per_bank: u64, ctx: &Context<'_>) -> String {
    let all = lane.length * lane.banks;
    let size = ctx.units.format(per_bank * lane.banks, Some(all), false);
    if lane.banks == 1 {
        return size;
    }
    format!(
        "{} x {} banks = {size}",
        ctx.units.format(per_bank, None, false),
        lane.banks
    )
}

fn who(pid: u32, ctx: &Context<'_>) -> String {
    let command =
        process(ctx, pid).map_or_else(|| UNKNOWN.into(), |process| text::visible(&process.comm));
    format!("{pid} {command}")
}

/// Processes, with what they hold, as far as there is room.
pub fn draw(page: &DevicePage, area: Rect, line: u16, buffer: &mut Buffer, ctx: &Context<'_>) {
    let theme = ctx.theme;
    let mut sums = BTreeMap::<u32, (u64, usize)>::new();
    for lane in &page.lanes {
        let sum = sums.entry(lane.pid).or_default();
        sum.0 = sum
            .0
            .saturating_add(lane.taken().saturating_mul(lane.banks));
        sum.1 += lane.blocks.len();
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (bytes, _))| Reverse(*bytes));
    let mut pen = Pen::new(buffer, area, line, theme);
    let omitted = omitted(page, ctx);
    if let Some(words) = &omitted {
        pen.put(words, theme.warning()).skip(2);
    }
    for (nth, (pid, (bytes, blocks))) in sums.iter().enumerate() {
        let words = format!(
            "{} {} in {}",
            who(*pid, ctx),
            ctx.units.format(*bytes, None, true),
            counted(*blocks as u64, "block", "blocks")
        );
        if pen.room() < text::width(&words) + 14 && nth > 0 {
            pen.put(&format!("+ {} more", sums.len() - nth), theme.quiet());
            break;
        }
        let letter = page.palette.letter(*pid).to_string();
        pen.put(&letter, theme.process(page.palette.place(*pid), false))
            .skip(1)
            .put(&words, theme.plain())
            .skip(3);
    }
}

/// What the map does not show.
fn omitted(page: &DevicePage, ctx: &Context<'_>) -> Option<String> {
    let list = page.list.as_ref().filter(|list| list.omitted > 0)?;
    let bytes = ctx.units.format(list.omitted_bytes, None, false);
    Some(format!(
        "{} smaller ones ({bytes}) are not drawn",
        grouped(list.omitted)
    ))
}
