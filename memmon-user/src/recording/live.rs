//! Live allocations as columns.

use super::{
    columns::{Column, ColumnInput, Dictionary, Whose, entries, named},
    varint::{Input, Malformed, put},
};
use crate::tables::live::LiveEntry;

pub fn write<'a>(allocations: impl Iterator<Item = &'a LiveEntry>, to: &mut Vec<u8>) {
    let mut all_whose = Dictionary::default();
    let mut columns: [Column; 7] = Default::default();
    let mut count = 0_u64;
    for entry in allocations {
        let [whose, keys, requested, charged, addresses, times, threads] = &mut columns;
        let whose_it_is = Whose {
            proc: entry.proc,
            pid: 0,
            row: entry.row_key(),
        };
        whose.plain(all_whose.place(whose_it_is) as u64);
        keys.delta(entry.key);
        requested.plain(entry.requested);
        charged.plain(entry.charged);
        addresses.delta(entry.address);
        times.delta(entry.since_ns);
        threads.delta(entry.tid.into());
        count += 1;
    }
    put(count, to);
    all_whose.write(to, Whose::write);
    for column in &columns {
        column.write(to);
    }
}

pub fn read(input: &mut Input<'_>) -> Result<Vec<LiveEntry>, Malformed> {
    let count = input.count()?;
    let all_whose = entries(input, Whose::read)?;
    let mut column = || ColumnInput::of(input);
    let mut whose = column()?;
    let mut keys = column()?;
    let mut requested = column()?;
    let mut charged = column()?;
    let mut addresses = column()?;
    let mut times = column()?;
    let mut threads = column()?;
    (0..count)
        .map(|_| {
            let Whose { proc, pid: _, row } = named(&all_whose, whose.plain()?)?;
            Ok(LiveEntry {
                proc,
                space: row.space,
                key: keys.delta()?,
                owner: row.owner,
                pool: row.pool,
                ogen: row.ogen,
                requested: requested.plain()?,
                charged: charged.plain()?,
                address: addresses.delta()?,
                since_ns: times.delta()?,
                tid: u32::try_from(threads.delta()?).map_err(|_| Malformed)?,
                label: 0,
            })
        })
        .collect()
}
