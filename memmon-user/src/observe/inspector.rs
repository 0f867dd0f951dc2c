//! Questions that take a look at every live allocation, answered in a thread of their own.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
};

use memmon_ebpf::ledger::{LiveKey, LiveValue, RowKey};
use tokio::sync::{broadcast, mpsc as tokio_mpsc, oneshot};

use super::observer::Observer;
use crate::{
    attach::{batch::Reader, names},
    clock, rights,
    tables::{
        Batch, Fact, Follower, Tables,
        live::{Inspect, LiveEntry},
    },
};

type LiveReader = Reader<LiveKey, LiveValue>;

/// Questions that may wait; more are refused.
const WAITING: usize = 16;

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
    Taken {
        row: RowKey,
        failure: u64,
    },
}

/// What is live in a row, looked up for a failure.
#[derive(Debug)]
pub(super) struct TakenBlocks {
    pub failure: u64,
    /// None where it could not be read.
    pub blocks: Option<Vec<LiveEntry>>,
}

/// The thread, and what it found out for the tables.
pub(super) struct Inspector {
    jobs: mpsc::SyncSender<Job>,
    pub taken: tokio_mpsc::Receiver<TakenBlocks>,
}

impl Inspector {
    /// `kernel` is its release.
    pub fn start(reader: LiveReader, kernel: (u32, u32)) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel(WAITING);
        let (found, taken) = tokio_mpsc::channel(1);
        thread::Builder::new()
            .name("inspector".to_owned())
            .spawn(move || {
                rights::or_end(rights::keep_for_maps(kernel));
                for job in inbox {
                    work(&reader, job, &found);
                }
            })?;
        Ok(Self { jobs, taken })
    }
}

fn work(reader: &LiveReader, job: Job, found: &tokio_mpsc::Sender<TakenBlocks>) {
    match job {
        Job::List { tables, inspect } => {
            let Inspect { ask, reply } = inspect;
            if reply.is_closed() {
                return;
            }
            let mut listing = tables.listing(&ask);
            let read = reader.read(|key, value| {
                if let Some(entry) = LiveEntry::of(&key, &value) {
                    listing.take(entry);
                }
            });
            // Half a list would pass for a whole one: rather none.
            if read.is_ok() {
                let _ = reply.send(listing.finish(clock::boot_ns(), clock::now(), names::name));
            }
        }
        Job::Follow {
            mut checkpoint,
            batches,
            reply,
        } => {
            if let Ok(entries) = entries(reader) {
                checkpoint.facts.push(Fact::Live(entries));
                let _ = reply.send(Follower {
                    checkpoint: Arc::new(checkpoint),
                    batches,
                });
            }
        }
        Job::Taken { row, failure } => {
            let mut blocks = Vec::new();
            let read = reader.read(|key, value| {
                let entry = LiveEntry::of(&key, &value);
                blocks.extend(entry.filter(|entry| entry.row_key() == row));
            });
            let blocks = read.is_ok().then_some(blocks);
            let _ = found.blocking_send(TakenBlocks { failure, blocks });
        }
    }
}

fn entries(reader: &LiveReader) -> io::Result<Vec<LiveEntry>> {
    let mut entries = Vec::new();
    reader.read(|key, value| entries.extend(LiveEntry::of(&key, &value)))?;
    Ok(entries)
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
            checkpoint: self.journal.batch(self.tables.checkpoint()),
            batches: self.journal.subscribe(),
            reply,
        });
    }

    /// Whether that will be listed.
    pub(super) fn list_taken(&self, row: RowKey, failure: u64) -> bool {
        let job = Job::Taken { row, failure };
        self.inspector.jobs.try_send(job).is_ok()
    }
}
