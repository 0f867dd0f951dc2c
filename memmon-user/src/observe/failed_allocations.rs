//! Allocations that failed: what was free at that moment, and the largest block of it.

use std::collections::HashMap;

use memmon_ebpf::ledger::{Counter, RowKey};

use super::{inspector::TakenBlocks, observer::Observer};
use crate::{
    attach::names,
    clock,
    tables::{
        Fact,
        event::{Event, EventKind},
        facts::PoolCapacity,
        live::LiveEntry,
        moment::Moment,
    },
};

/// Failures whose free blocks are looked at together: in a flood of them only some are.
const AT_ONCE: usize = 4;
/// Of one pool, while its blocks are looked at. Where more happens, they are not known.
const MOST_EVENTS: usize = 1 << 17;

/// Failures whose free blocks are being looked at.
#[derive(Debug, Default)]
pub(super) struct FailedAllocations {
    /// By the failure's number.
    awaited: HashMap<u64, FailedAllocation>,
}

/// One of them, until it is known what its pool held.
#[derive(Debug)]
struct FailedAllocation {
    row: RowKey,
    capacity: PoolCapacity,
    free_bytes: u64,
    /// What happened to the row since the failure.
    events: Vec<Event>,
    lost_before: u64,
}

impl Observer {
    pub(super) fn awaits_free_blocks(&self) -> bool {
        !self.failed_allocations.awaited.is_empty()
    }

    /// Tells of the failures among the events, which begin with the first of them at the latest.
    pub(super) fn note_failures(&mut self, events: &[Event]) {
        let mut moment = Moment::before(events, &self.tables);
        for event in events {
            moment.pass(event);
            if event.kind != EventKind::Failed {
                continue;
            }
            let at = clock::at_boot_ns(event.time_ns);
            let mut failure = self.tables.describe_failure(event, &moment, at);
            failure.api = event.label().and_then(names::name);
            let (number, free_bytes) = (failure.number, failure.free_bytes);
            self.tell(Fact::Failure(Box::new(failure)));
            if let Some(free_bytes) = free_bytes {
                self.find_free_blocks(event, number, free_bytes);
            }
        }
    }

    fn find_free_blocks(&mut self, event: &Event, failure: u64, free_bytes: u64) {
        let Some(capacity) = self.tables.capacity_of(&event.row) else {
            return;
        };
        if self.failed_allocations.awaited.len() < AT_ONCE && self.list_taken(event.row, failure) {
            let failed = FailedAllocation {
                row: event.row,
                capacity,
                free_bytes,
                // This one marks the place: what came before it in these events is no matter.
                events: vec![*event],
                lost_before: self.lost_history(),
            };
            self.failed_allocations.awaited.insert(failure, failed);
        }
    }

    /// These have just happened.
    pub(super) fn keep_for_free_blocks(&mut self, events: &[Event]) {
        for failed in self.failed_allocations.awaited.values_mut() {
            let since = match failed.events.as_slice() {
                [mark] => events.iter().position(|e| e == mark).map_or(0, |at| at + 1),
                _ => 0,
            };
            let own = events.iter().skip(since).filter(|e| e.row == failed.row);
            let room = (MOST_EVENTS + 1).saturating_sub(failed.events.len());
            failed.events.extend(own.take(room));
        }
    }

    pub(super) fn note_taken(&mut self, found: TakenBlocks) {
        // Whatever the reading may have seen is history now.
        self.drain_history();
        let Some(failed) = self.failed_allocations.awaited.remove(&found.failure) else {
            return;
        };
        let is_whole =
            self.lost_history() == failed.lost_before && failed.events.len() <= MOST_EVENTS;
        let taken = found.blocks.filter(|_| is_whole);
        if let Some(bytes_per_bank) = taken.and_then(|taken| failed.largest_free(taken)) {
            self.tell(Fact::LargestFree {
                failure: found.failure,
                bytes_per_bank,
            });
        }
    }

    fn lost_history(&self) -> u64 {
        self.kernel.counters().get(Counter::LostHistory)
    }
}

impl FailedAllocation {
    fn largest_free(&self, taken: Vec<LiveEntry>) -> Option<u64> {
        let banks = self.capacity.banks;
        let blocks = taken_then(taken, &self.events);
        let held: u64 = blocks.iter().map(|(_, charged)| *charged).sum();
        if held != self.capacity.bytes.checked_sub(self.free_bytes)? {
            // Something is missing among them: no gap is known to be one.
            return None;
        }
        let mut blocks = blocks;
        for (_, size) in &mut blocks {
            *size = size.checked_div(banks)?;
        }
        largest_gap(&self.capacity, blocks)
    }
}

/// Address and charged bytes of what was live before these events. The first thing that happened
/// to an allocation since says whether it was; where nothing did, whether it still is.
fn taken_then(live: Vec<LiveEntry>, events: &[Event]) -> Vec<(u64, u64)> {
    let mut blocks: HashMap<u64, (u64, u64)> = live
        .into_iter()
        .map(|entry| (entry.key, (entry.address, entry.charged)))
        .collect();
    for event in events.iter().rev() {
        match event.kind {
            EventKind::Alloc | EventKind::Unfreed => {
                blocks.remove(&event.key);
            }
            EventKind::Free => {
                blocks.insert(event.key, (event.address, event.charged));
            }
            EventKind::Failed | EventKind::UnknownFree | EventKind::Register => {}
        }
    }
    blocks.into_values().collect()
}

/// The largest gap in a bank. None where its range is not known.
fn largest_gap(capacity: &PoolCapacity, mut taken: Vec<(u64, u64)>) -> Option<u64> {
    let base = capacity.base?;
    let end = base.checked_add(capacity.bytes.checked_div(capacity.banks)?)?;
    taken.sort_unstable();
    let mut free_from = base;
    let mut largest = 0;
    for (address, size) in taken {
        largest = largest.max(address.saturating_sub(free_from));
        free_from = free_from.max(address.saturating_add(size));
    }
    Some(largest.max(end.saturating_sub(free_from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps() {
        let capacity = PoolCapacity {
            banks: 4,
            bytes: 4000,
            base: Some(100),
            ..PoolCapacity::default()
        };
        assert_eq!(largest_gap(&capacity, vec![]), Some(1000));
        assert_eq!(largest_gap(&capacity, vec![(100, 1000)]), Some(0));
        assert_eq!(
            largest_gap(&capacity, vec![(900, 200), (300, 100)]),
            Some(500)
        );
        assert_eq!(largest_gap(&capacity, vec![(100, 300)]), Some(700));
        let unknown = PoolCapacity {
            base: None,
            ..capacity
        };
        assert_eq!(largest_gap(&unknown, vec![]), None);
    }

    #[test]
    fn blocks_as_they_were() {
        use EventKind::{Alloc, Free};
        let entry = |key: u64, address: u64| LiveEntry {
            key,
            address,
            charged: 10,
            ..LiveEntry::default()
        };
        let event = |kind: EventKind, key: u64, address: u64| Event {
            kind,
            time_ns: 0,
            proc: 0,
            pid: 0,
            tid: 0,
            key,
            row: RowKey::default(),
            sequence: 0,
            requested: 10,
            charged: 10,
            address,
        };
        // 1 stayed; 2 was freed, and its key made anew elsewhere; 3 came later; 4 came and went.
        let events = [
            event(Free, 2, 200),
            event(Alloc, 4, 900),
            event(Alloc, 3, 300),
            event(Free, 4, 900),
            event(Alloc, 2, 700),
        ];
        for live in [
            vec![entry(1, 100), entry(2, 700), entry(3, 300)],
            // Read a little earlier.
            vec![entry(1, 100), entry(3, 300)],
            vec![entry(1, 100), entry(2, 200), entry(4, 900)],
        ] {
            let mut taken = taken_then(live, &events);
            taken.sort_unstable();
            assert_eq!(taken, [(100, 10), (200, 10)]);
        }
    }
}
