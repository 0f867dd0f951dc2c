//! Questions that take a look at every live allocation, answered in a thread of their own.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
};

use memmon_ebpf::ledger::{LiveKey, LiveValue, RowKey};
use tokio::sync::{broadcast, mpsc as tokio_mpsc, oneshot};

use super::{clock, journal, observer::Observer};
use crate::{
    attach::batch::Reader,
    tables::{
        Batch, Fact, Follower, Tables,
        event::Event,
        facts::PoolCapacity,
        live::{Inspect, LiveEntry},
    },
};

type LiveReader = Reader<LiveKey, LiveValue>;

/// Questions that may wait; more are refused.
const WAITING: usize = 16;
/// Failures whose free blocks may wait to be looked at: in a flood of them only some are.
const FAILURES_WAITING: usize = 4;

enum Job {
    List {
        tables: Box<Tables>,
        inspect: Inspect,
    },
    Follow {
        checkpoint: Batch,
        batches: broadcast::Receiver<Arc<Batch>>,
        reply: oneshot::Sender<Follower>,
    },
    LargestFree {
        row: RowKey,
        capacity: PoolCapacity,
        failure: u64,
    },
}

/// The thread, and what it found out for the tables.
pub(super) struct Inspector {
    jobs: mpsc::SyncSender<Job>,
    pub findings: tokio_mpsc::Receiver<Fact>,
}

impl Inspector {
    pub fn start(reader: LiveReader) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel(WAITING);
        let (found, findings) = tokio_mpsc::channel(FAILURES_WAITING);
        thread::Builder::new()
            .name("inspector".to_owned())
            .spawn(move || {
                for job in inbox {
                    work(&reader, job, &found);
                }
            })?;
        Ok(Self { jobs, findings })
    }
}

fn work(reader: &LiveReader, job: Job, found: &tokio_mpsc::Sender<Fact>) {
    match job {
        Job::List { tables, inspect } => {
            let Inspect { ask, reply } = inspect;
            if reply.is_closed() {
                return;
            }
            let entries = entries(reader);
            let list = tables.live_list(entries.into_iter(), &ask, clock::boot_ns(), clock::now());
            let _ = reply.send(list);
        }
        Job::Follow {
            mut checkpoint,
            batches,
            reply,
        } => {
            checkpoint.facts.push(Fact::Live(entries(reader)));
            let _ = reply.send(Follower {
                checkpoint: Arc::new(checkpoint),
                batches,
            });
        }
        Job::LargestFree {
            row,
            capacity,
            failure,
        } => {
            let mut taken = Vec::new();
            for entry in entries(reader) {
                if entry.row_key() == row {
                    taken.push((entry.address, entry.charged / capacity.banks.max(1)));
                }
            }
            if let Some(bytes_per_bank) = largest_free(&capacity, taken) {
                let _ = found.try_send(Fact::LargestFree {
                    failure,
                    bytes_per_bank,
                });
            }
        }
    }
}

fn entries(reader: &LiveReader) -> Vec<LiveEntry> {
    let mut entries = Vec::new();
    let read = reader.read(|key, value| entries.extend(LiveEntry::of(&key, &value)));
    if read.is_err() {
        // Half a list would pass for a whole one.
        entries.clear();
    }
    entries
}

/// The largest gap in a bank. None where its range is not known.
pub(super) fn largest_free(capacity: &PoolCapacity, mut taken: Vec<(u64, u64)>) -> Option<u64> {
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

impl Observer {
    pub(super) fn inspect(&mut self, inspect: Inspect) {
        self.collect();
        let _ = self.inspector.jobs.try_send(Job::List {
            tables: Box::new(self.tables.clone()),
            inspect,
        });
    }

    /// The state so far, and everything from here on.
    pub(super) fn follow(&mut self, reply: oneshot::Sender<Follower>) {
        self.collect();
        // Those who follow already have it; the new one has it in its checkpoint.
        self.journal.flush();
        let _ = self.inspector.jobs.try_send(Job::Follow {
            checkpoint: journal::batch(self.tables.checkpoint()),
            batches: self.journal.subscribe(),
            reply,
        });
    }

    pub(super) fn look_for_free(&mut self, event: &Event, failure: u64) {
        if let Some(capacity) = self.tables.capacity_of(&event.row) {
            let _ = self.inspector.jobs.try_send(Job::LargestFree {
                row: event.row,
                capacity,
                failure,
            });
        }
    }
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
        assert_eq!(largest_free(&capacity, vec![]), Some(1000));
        assert_eq!(largest_free(&capacity, vec![(100, 1000)]), Some(0));
        assert_eq!(
            largest_free(&capacity, vec![(900, 200), (300, 100)]),
            Some(500)
        );
        assert_eq!(largest_free(&capacity, vec![(100, 300)]), Some(700));
        let unknown = PoolCapacity {
            base: None,
            ..capacity
        };
        assert_eq!(largest_free(&unknown, vec![]), None);
    }
}
