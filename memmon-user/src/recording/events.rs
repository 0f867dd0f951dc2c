//! Events as columns. An event that repeats an earlier one of its frame (a free names what was
//! allocated; a loop allocates the same again) says how far back that one is, and no more.

use std::collections::HashMap;

use super::{
    columns::{Column, ColumnInput, Dictionary, Whose, entries, named},
    varint::{Input, Malformed, put},
};
use crate::tables::event::{Event, EventKind};

/// By their number in the file.
const KINDS: [EventKind; 6] = [
    EventKind::Alloc,
    EventKind::Free,
    EventKind::Failed,
    EventKind::UnknownFree,
    EventKind::Register,
    EventKind::Unfreed,
];

/// Columns, in the order in which they stand.
#[derive(Debug, Default)]
struct Columns {
    kinds: Column,
    whose: Column,
    threads: Column,
    times: Column,
    sequences: Column,
    back: Column,
    keys: Column,
    requested: Column,
    charged: Column,
    addresses: Column,
}

/// What a free has in common with its allocation.
#[derive(PartialEq, Eq, Hash)]
struct Allocation {
    whose: usize,
    key: u64,
    requested: u64,
    charged: u64,
    address: u64,
}

pub fn write<'a>(events: impl Iterator<Item = &'a Event>, to: &mut Vec<u8>) {
    let mut all_whose = Dictionary::default();
    let mut threads = Dictionary::default();
    let mut columns = Columns::default();
    let mut sequences = HashMap::<usize, u32>::new();
    let mut seen = HashMap::<Allocation, usize>::new();
    let mut count = 0_u64;
    for (at, event) in events.enumerate() {
        let Event {
            kind,
            time_ns,
            proc,
            pid,
            tid,
            key,
            row,
            sequence,
            requested,
            charged,
            address,
        } = *event;
        let whose = all_whose.place(Whose { proc, pid, row });
        let kind = KINDS.iter().position(|known| *known == kind);
        columns
            .kinds
            .byte(kind.and_then(|kind| u8::try_from(kind).ok()).unwrap_or(0));
        columns.whose.plain(whose as u64);
        columns.threads.plain(threads.place(tid) as u64);
        columns.times.delta(time_ns);
        let last = sequences.insert(whose, sequence).unwrap_or_default();
        let ahead = sequence.wrapping_sub(last.wrapping_add(1)).cast_signed();
        columns.sequences.signed(ahead.into());
        let allocation = Allocation {
            whose,
            key,
            requested,
            charged,
            address,
        };
        match seen.insert(allocation, at) {
            Some(before) => columns.back.plain((at - before) as u64),
            None => {
                columns.back.plain(0);
                columns.keys.delta(key);
                columns.requested.plain(requested);
                columns.charged.plain(charged);
                columns.addresses.delta(address);
            }
        }
        count += 1;
    }
    put(count, to);
    all_whose.write(to, Whose::write);
    threads.write(to, |tid, to| put(*tid, to));
    let Columns {
        kinds,
        whose,
        threads,
        times,
        sequences,
        back,
        keys,
        requested,
        charged,
        addresses,
    } = columns;
    for column in [
        kinds, whose, threads, times, sequences, back, keys, requested, charged, addresses,
    ] {
        column.write(to);
    }
}

pub fn read(input: &mut Input<'_>) -> Result<Vec<Event>, Malformed> {
    let count = input.count()?;
    let all_whose = entries(input, Whose::read)?;
    let tids = entries(input, |input| input.take::<u32>())?;
    let mut column = || ColumnInput::of(input);
    let mut kinds = column()?;
    let mut whose_column = column()?;
    let mut threads = column()?;
    let mut times = column()?;
    let mut sequences = column()?;
    let mut back = column()?;
    let mut keys = column()?;
    let mut requested = column()?;
    let mut charged = column()?;
    let mut addresses = column()?;
    let mut last_sequences = vec![0_u32; all_whose.len()];
    let mut events = Vec::<Event>::with_capacity(count);
    for at in 0..count {
        let kind = *KINDS.get(usize::from(kinds.byte()?)).ok_or(Malformed)?;
        let place = whose_column.plain()?;
        let Whose { proc, pid, row } = named(&all_whose, place)?;
        let tid = named(&tids, threads.plain()?)?;
        let time_ns = times.delta()?;
        let ahead = i32::try_from(sequences.signed()?).map_err(|_| Malformed)?;
        let last = usize::try_from(place)
            .ok()
            .and_then(|place| last_sequences.get_mut(place))
            .ok_or(Malformed)?;
        *last = last.wrapping_add(1).wrapping_add(ahead.cast_unsigned());
        let sequence = *last;
        let mut event = Event {
            kind,
            time_ns,
            proc,
            pid,
            tid,
            key: 0,
            row,
            sequence,
            requested: 0,
            charged: 0,
            address: 0,
        };
        match usize::try_from(back.plain()?).map_err(|_| Malformed)? {
            0 => {
                event.key = keys.delta()?;
                event.requested = requested.plain()?;
                event.charged = charged.plain()?;
                event.address = addresses.delta()?;
            }
            back => {
                let before = at
                    .checked_sub(back)
                    .and_then(|at| events.get(at))
                    .ok_or(Malformed)?;
                event.key = before.key;
                event.requested = before.requested;
                event.charged = before.charged;
                event.address = before.address;
            }
        }
        events.push(event);
    }
    Ok(events)
}
