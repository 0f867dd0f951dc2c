//! What stands in the cells of a line of the table.

use ratatui::style::Style;

use super::super::amount::{Amount, Cell, Sums};
use super::super::column::Column;
use super::super::group::{Group, Grouping};
use super::super::rows::{Row, same_place};
use super::super::table::Table;
use super::layout::Layout;
use crate::views::pools;
use crate::views::tui::{moment, pages::Context};
use crate::views::units::{UNKNOWN, counted};
use crate::{
    tables::snapshot::{Pool, Process, Usage},
    text,
};

type Words = (String, Style);

/// Of a row.
pub fn row(
    row: &Row,
    column: &Column,
    width: usize,
    table: &Table,
    layout: &Layout,
    ctx: &Context<'_>,
) -> Words {
    let plain = ctx.theme.plain();
    let process = row.process(ctx.snapshot);
    match column {
        Column::Pid => (process.pid.to_string(), plain),
        Column::User => (pools::user(process.user.as_deref(), process.uid), plain),
        Column::Command => {
            let state_shown = layout.columns.iter().any(|(c, _)| *c == Column::State);
            let mark = if row.sums.exited && !state_shown {
                "exited: "
            } else {
                ""
            };
            let indent = if table.grouping() == Grouping::None {
                ""
            } else {
                "  "
            };
            let words = command(process, width);
            (format!("{indent}{mark}{words}"), plain)
        }
        Column::Device => device(row, ctx),
        Column::Age => (age(process, ctx), plain),
        Column::Since => (text::visible(&process.since), ctx.theme.quiet()),
        Column::State => (text::visible(&process.state), ctx.theme.quiet()),
        column => {
            let usage = row.usage(ctx.snapshot);
            number(
                column,
                &row.sums,
                table.rows.cells(row),
                usage,
                table,
                layout,
                ctx,
            )
        }
    }
}

/// Of a group.
pub fn group(
    group: &Group,
    column: &Column,
    width: usize,
    table: &Table,
    layout: &Layout,
    ctx: &Context<'_>,
) -> Words {
    let strong = ctx.theme.strong();
    let first = group.first(&table.rows);
    let by_process = table.grouping() == Grouping::Process;
    match column {
        Column::Pid => {
            let signs = ctx.theme.signs;
            let open = table.is_expanded(group, ctx.snapshot);
            let sign = if open { signs.opened } else { signs.closed };
            let number = if by_process {
                first.process(ctx.snapshot).pid as usize
            } else {
                group.processes(&table.rows)
            };
            (format!("{sign}{number}"), strong)
        }
        Column::Command if !by_process => {
            let name = group_name(group, table, ctx);
            let is_path = table.grouping() == Grouping::Cgroup;
            let name = if is_path {
                end_of(&name, width, ctx)
            } else {
                name
            };
            (name, strong)
        }
        Column::Device if table.grouping() != Grouping::Device => {
            let place = first.usage(ctx.snapshot);
            let is_one = group.rows.iter().all(|&at| {
                let other = table.rows.rows[at].usage(ctx.snapshot);
                match (place, other) {
                    (Some(a), Some(b)) => same_place(a, b),
                    (a, b) => a.is_none() && b.is_none(),
                }
            });
            if is_one {
                device(first, ctx)
            } else {
                ("*".into(), strong)
            }
        }
        Column::User if !by_process && table.grouping() != Grouping::User => ("".into(), strong),
        Column::Age | Column::Since | Column::State if !by_process => (String::new(), strong),
        Column::User
        | Column::Command
        | Column::Device
        | Column::Age
        | Column::Since
        | Column::State => {
            let (words, _) = row(first, column, width, table, layout, ctx);
            (words.trim_start().to_owned(), strong)
        }
        Column::Peak if group.rows.len() > 1 => {
            let (words, style) =
                number(column, &group.sums, &group.cells, None, table, layout, ctx);
            let known = matches!(group.sums.peak, Amount::Known(1..)) && group.sums.exact;
            // Peaks of several rows need not have been at one time.
            let mark = if known { ctx.theme.signs.at_most } else { "" };
            (format!("{mark}{words}"), style)
        }
        column => {
            let usage = (table.grouping() == Grouping::Device || group.rows.len() == 1)
                .then(|| first.usage(ctx.snapshot))
                .flatten();
            number(column, &group.sums, &group.cells, usage, table, layout, ctx)
        }
    }
}

/// What the rows of a group have in common, and how many processes they are.
pub fn group_label(group: &Group, table: &Table, ctx: &Context<'_>) -> String {
    let count = counted(group.processes(&table.rows) as u64, "process", "processes");
    format!("{}: {count}", group_name(group, table, ctx))
}

/// Of a path, the end says most.
fn end_of(path: &str, width: usize, ctx: &Context<'_>) -> String {
    let too_long = text::width(path).saturating_sub(width);
    if too_long == 0 {
        return path.to_owned();
    }
    let ellipsis = ctx.theme.signs.ellipsis;
    let cut = too_long + text::width(ellipsis);
    let end: String = path.chars().skip(cut).collect();
    format!("{ellipsis}{end}")
}

fn group_name(group: &Group, table: &Table, ctx: &Context<'_>) -> String {
    let first = group.first(&table.rows);
    let process = first.process(ctx.snapshot);
    match table.grouping() {
        Grouping::None | Grouping::Process => command(process, 80),
        Grouping::User => format!("user {}", pools::user(process.user.as_deref(), process.uid)),
        Grouping::Cgroup => match &process.cgroup {
            Some(cgroup) => text::visible(cgroup),
            None => "cgroup not known".into(),
        },
        Grouping::Device => match first.usage(ctx.snapshot) {
            Some(usage) => {
                let uid = usage.device_uid.as_deref();
                let device = ctx.device(&usage.runtime, usage.device, uid);
                format!("device {device}")
            }
            None => "no device".into(),
        },
    }
}

fn number(
    column: &Column,
    sums: &Sums,
    cells: &[Cell],
    usage: Option<&Usage>,
    table: &Table,
    layout: &Layout,
    ctx: &Context<'_>,
) -> Words {
    let theme = ctx.theme;
    let pool = |name: &str| table.pools().iter().position(|pool| pool == name);
    let size = |bytes: u64, pool: &str| {
        ctx.units
            .format(bytes, capacity(usage, pool, ctx), layout.short)
    };
    let count = |count: u64| short_count(count);
    let (amount, exact, show, style): (_, _, &dyn Fn(u64) -> String, _) = match column {
        Column::Pool(name) => {
            let cell = pool(name).and_then(|at| cells.get(at)).copied();
            let cell = cell.unwrap_or(Cell::ABSENT);
            let style = if pools::is_main(name) {
                theme.strong()
            } else {
                theme.plain()
            };
            (cell.amount, cell.exact, &|bytes| size(bytes, name), style)
        }
        Column::Peak => {
            // Each runtime has its own name for a device's memory.
            let capacity = main_capacity(usage, ctx);
            return finish(
                sums.peak,
                sums.exact,
                &|bytes| ctx.units.format(bytes, capacity, layout.short),
                theme.plain(),
                ctx,
            );
        }
        Column::Live => (sums.live, sums.exact, &count, theme.plain()),
        Column::Allocations => (sums.allocations, sums.exact, &count, theme.plain()),
        Column::Rate => (sums.rate, true, &rate, theme.plain()),
        Column::Failed => (sums.failed, sums.exact, &count, theme.bad()),
        _ => (Amount::Absent, true, &count, theme.plain()),
    };
    // A rate is known from the second look on; that is no reason to worry.
    if *column == Column::Rate && amount == Amount::Unknown {
        return (UNKNOWN.into(), theme.quiet());
    }
    finish(amount, exact, show, style, ctx)
}

fn finish(
    amount: Amount,
    exact: bool,
    show: &dyn Fn(u64) -> String,
    style: Style,
    ctx: &Context<'_>,
) -> Words {
    let theme = ctx.theme;
    let (words, style) = match amount {
        Amount::Known(0) => ("0".into(), theme.quiet()),
        Amount::Known(number) => (show(number), style),
        Amount::Unknown => (UNKNOWN.into(), theme.warning()),
        Amount::Absent => ("-".into(), theme.quiet()),
    };
    if exact {
        (words, style)
    } else {
        (format!("~{words}"), theme.warning())
    }
}

/// Of the device's pool, for shares of it.
fn capacity(usage: Option<&Usage>, pool: &str, ctx: &Context<'_>) -> Option<u64> {
    let pool = pools_of(usage?, ctx)
        .iter()
        .find(|known| known.pool == pool)?;
    pool.capacity_bytes
}

fn main_capacity(usage: Option<&Usage>, ctx: &Context<'_>) -> Option<u64> {
    let mut pools = pools_of(usage?, ctx).iter();
    pools
        .find(|pool| pools::is_main(&pool.pool))?
        .capacity_bytes
}

/// The pools of the device that a row stands on.
fn pools_of<'a>(usage: &Usage, ctx: &Context<'a>) -> &'a [Pool] {
    let mut devices = ctx.snapshot.devices.iter();
    let device = devices.find(|device| device.place() == usage.place());
    device.map_or(&[], |device| &device.pools)
}

/// The command line as it was given; the short name, in brackets, of a process that has none.
fn command(process: &Process, width: usize) -> String {
    let mut words = String::new();
    if process.command.is_empty() {
        words.push_str(&format!("[{}]", process.comm));
    }
    for word in &process.command {
        // An escape makes a character wider, never narrower than a quarter of its bytes: more is not needed.
        if words.len() > width * 4 {
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().take(width + 1));
    }
    text::visible(&words)
}

fn device(row: &Row, ctx: &Context<'_>) -> Words {
    let (plain, unknown) = (ctx.theme.plain(), ctx.theme.warning());
    let Some(usage) = row.usage(ctx.snapshot) else {
        return match row.sums.main {
            Amount::Unknown => (UNKNOWN.into(), unknown),
            _ => ("-".into(), plain),
        };
    };
    let uid = usage.device_uid.as_deref();
    let words = ctx.device(&usage.runtime, usage.device, uid);
    let is_known = usage.device.is_some() || uid.is_some();
    (words, if is_known { plain } else { unknown })
}

fn age(process: &Process, ctx: &Context<'_>) -> String {
    let start = process.start_time.as_deref();
    let age = start.and_then(|start| moment::between(start, &ctx.snapshot.taken_at));
    age.map_or_else(|| UNKNOWN.into(), moment::span)
}

/// Of a number in a thousand seconds: `0.25`, `9.5`, `1234`.
fn rate(thousandth: u64) -> String {
    match thousandth {
        0..1_000 => format!("0.{:02}", thousandth / 10),
        1_000..10_000 => format!("{}.{}", thousandth / 1_000, thousandth % 1_000 / 100),
        _ => short_count(thousandth / 1_000),
    }
}

/// Plain up to six digits, then `1.23M`.
fn short_count(count: u64) -> String {
    match count {
        0..1_000_000 => count.to_string(),
        1_000_000..1_000_000_000 => scaled(count, 1_000_000, 'M'),
        _ => scaled(count, 1_000_000_000, 'G'),
    }
}

fn scaled(count: u64, unit: u64, sign: char) -> String {
    let hundredths = count / (unit / 100);
    match hundredths {
        0..1_000 => format!("{}.{:02}{sign}", hundredths / 100, hundredths % 100),
        1_000..10_000 => format!("{}.{}{sign}", hundredths / 100, hundredths % 100 / 10),
        _ => format!("{}{sign}", hundredths / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_rates_stay_short() {
        assert_eq!(short_count(999_999), "999999");
        assert_eq!(short_count(1_234_567), "1.23M");
        assert_eq!(short_count(999_999_999), "999M");
        assert_eq!(short_count(12_345_678_901), "12.3G");
        assert_eq!(rate(250), "0.25");
        assert_eq!(rate(9_540), "9.5");
        assert_eq!(rate(1_234_567), "1234");
    }
}
