//! What stood at a moment that has just passed. Totals are read a little later than the failure
//! that asks for them: what happened in between is taken back.

use std::collections::HashMap;

use memmon_ebpf::ledger::RowKey;

use super::{
    Tables,
    event::{Event, EventKind},
};

/// How rows differed, at that moment, from what the tables say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    rows: HashMap<RowKey, Change>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub charged: i64,
    pub live: i64,
}

impl Moment {
    /// Before the first of these events, which are in order and all there were from then on, up to
    /// the last reading of totals at the least.
    pub fn before(events: &[Event], tables: &Tables) -> Self {
        let mut moment = Self::default();
        for event in events {
            if tables.includes(event) {
                moment.shift(event, -1);
            }
        }
        moment
    }

    /// One event later.
    pub fn pass(&mut self, event: &Event) {
        self.shift(event, 1);
    }

    pub fn of(&self, key: &RowKey) -> Change {
        self.rows.get(key).copied().unwrap_or_default()
    }

    fn shift(&mut self, event: &Event, direction: i64) {
        let sign = match event.kind {
            EventKind::Alloc | EventKind::Unfreed => direction,
            EventKind::Free => -direction,
            EventKind::Failed | EventKind::UnknownFree | EventKind::Register => return,
        };
        let change = self.rows.entry(event.row).or_default();
        let charged = sign.wrapping_mul(event.charged.cast_signed());
        change.charged = change.charged.wrapping_add(charged);
        change.live = change.live.wrapping_add(sign);
    }
}

impl Tables {
    /// Whether the totals were read after it.
    fn includes(&self, event: &Event) -> bool {
        self.rows.get(&event.row).is_some_and(|row| {
            // The lower halves may wrap around.
            let ahead = event.sequence.wrapping_sub(row.kernel.sequence as u32);
            ahead == 0 || ahead > u32::MAX / 2
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::facts::Proc;
    use memmon_ebpf::ledger::RowValue;

    const PROC: Proc = 3;

    fn key(owner: u64) -> RowKey {
        RowKey {
            proc: PROC,
            owner,
            ..RowKey::default()
        }
    }

    fn event(kind: EventKind, owner: u64, sequence: u32, charged: u64) -> Event {
        Event {
            kind,
            time_ns: 0,
            proc: PROC,
            pid: 1,
            tid: 1,
            key: 0,
            row: key(owner),
            sequence,
            requested: charged,
            charged,
            address: 0,
        }
    }

    /// Whenever totals are read, the sum at the failure comes out the same.
    #[test]
    fn what_happened_since_is_taken_back() {
        use EventKind::{Alloc, Failed, Free};
        let story = [
            (Alloc, 1, 1, 100),
            (Alloc, 2, 1, 7),
            (Failed, 1, 2, 1000),
            (Free, 1, 3, 60),
            (Alloc, 2, 2, 5),
            (Free, 1, 4, 40),
            (Alloc, 1, 5, 900),
        ];
        let events: Vec<Event> = story
            .iter()
            .map(|(kind, owner, sequence, charged)| event(*kind, *owner, *sequence, *charged))
            .collect();
        for read_after in 2..=events.len() {
            let mut tables = Tables::default();
            for owner in [1, 2] {
                let mut row = RowValue::default();
                for event in events[..read_after].iter().filter(|e| e.row == key(owner)) {
                    row.sequence = event.sequence.into();
                    match event.kind {
                        Alloc => {
                            (row.charged, row.live) =
                                (row.charged + event.charged as i64, row.live + 1)
                        }
                        Free => {
                            (row.charged, row.live) =
                                (row.charged - event.charged as i64, row.live - 1)
                        }
                        _ => {}
                    }
                }
                tables.row(key(owner), row);
            }
            let mut moment = Moment::before(&events, &tables);
            events[..2].iter().for_each(|event| moment.pass(event));
            for (owner, charged, live) in [(1, 100, 1), (2, 7, 1)] {
                let row = tables.rows[&key(owner)].kernel;
                let change = moment.of(&key(owner));
                assert_eq!(
                    (row.charged + change.charged, row.live + change.live),
                    (charged, live),
                    "owner {owner}, totals read after {read_after}"
                );
            }
        }
    }
}
