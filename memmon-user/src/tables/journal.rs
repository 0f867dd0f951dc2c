//! What the tables were told, in order: live, over a socket, or from a file. Told again, it makes
//! the same tables.

use std::sync::Arc;

use memmon_ebpf::ledger::{RowKey, RowValue};
use serde::{Deserialize, Serialize};

use super::{
    Tables,
    event::Event,
    facts::{Baseline, OwnerId, Placement, Proc, ProcessFacts, RuntimeFacts, Since},
    live::{Live, LiveEntry, LiveId},
    remote::{RowKeyDef, RowValueDef},
    snapshot::{Ending, Failure, Health, Library, Notice, Observer, Snapshot},
};

/// Facts that were taken in together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The wall clock's nanoseconds since 1970, when it was told.
    pub epoch_ns: u64,
    /// Nanoseconds since boot, at the same moment.
    pub boot_ns: u64,
    pub facts: Vec<Fact>,
}

impl Batch {
    /// The wall clock at a moment since boot, by this batch.
    pub fn epoch_of(&self, boot_ns: u64) -> u64 {
        self.epoch_ns
            .saturating_add(boot_ns)
            .saturating_sub(self.boot_ns)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Everything before is void: the whole present state follows, in this batch.
    Start {
        host: String,
        observer: Observer,
        runtimes: Vec<RuntimeFacts>,
    },
    Process {
        proc: Proc,
        facts: Box<ProcessFacts>,
    },
    Understood {
        proc: Proc,
        understood: bool,
    },
    Since {
        proc: Proc,
        since: Since,
    },
    /// What a runtime of this process held before memmon came was read, although what others in it
    /// held may not be known.
    Recovered {
        proc: Proc,
        space: u32,
    },
    /// What it did with this runtime before that was attached to is not known, whatever `Since` says of the process.
    Unseen {
        proc: Proc,
        space: u32,
    },
    Inexact {
        proc: Proc,
    },
    /// What could not be read of it has been looked up since.
    Exact {
        proc: Proc,
    },
    Exited {
        proc: Proc,
        at_ns: u64,
    },
    Forget {
        proc: Proc,
    },
    Placement {
        owner: OwnerId,
        ogen: u32,
        placement: Placement,
    },
    OwnerOpened {
        owner: OwnerId,
        ogen: u32,
    },
    FreedAll {
        owner: OwnerId,
        ended: u32,
    },
    Generation {
        owner: OwnerId,
        ogen: u32,
    },
    Baseline {
        #[serde(with = "RowKeyDef")]
        key: RowKey,
        baseline: Baseline,
    },
    /// A row as the kernel has it now.
    Row {
        #[serde(with = "RowKeyDef")]
        key: RowKey,
        #[serde(with = "RowValueDef")]
        value: RowValue,
    },
    Event(Event),
    Failure(Box<Failure>),
    /// The largest free block of a failure that was told before.
    LargestFree {
        failure: u64,
        bytes_per_bank: u64,
    },
    Ending(Ending),
    Notice(Notice),
    Libraries(Vec<Library>),
    Health(Health),
    /// Allocations that are live, seen being made or recovered.
    Live(Vec<LiveEntry>),
    /// Allocations that were taken for live, and are not.
    Gone(Vec<LiveId>),
    /// The highest sums so far, where they cannot be told from rows.
    Peaks(Vec<super::rows::PeakFact>),
}

/// Events are by far the most: what is larger lies elsewhere.
const _: () = assert!(size_of::<Fact>() <= 128);

/// A copy of the tables, with the allocations that are live, made of what the tables were told.
#[derive(Debug, Default)]
pub struct Replica {
    pub tables: Tables,
    pub live: Live,
    /// Of the latest batch.
    pub epoch_ns: u64,
    pub boot_ns: u64,
}

impl Replica {
    pub fn of(checkpoint: &Batch) -> Self {
        let mut replica = Self::default();
        replica.apply(checkpoint);
        replica
    }

    pub fn apply(&mut self, batch: &Batch) {
        self.epoch_ns = batch.epoch_ns;
        self.boot_ns = batch.boot_ns;
        for fact in &batch.facts {
            self.apply_fact(fact);
        }
        self.tables.raise_peaks();
    }

    /// One fact of a batch; after the last, [`Tables::raise_peaks`] is due.
    pub fn apply_fact(&mut self, fact: &Fact) {
        self.live.apply(fact);
        self.tables.apply(fact);
    }

    pub fn snapshot(&self, taken_at: String) -> Snapshot {
        self.tables.snapshot(taken_at)
    }
}

/// What a follower of an observation gets: the state so far, then everything that is told.
#[derive(Debug)]
pub struct Follower {
    pub checkpoint: Arc<Batch>,
    /// `Lagged` here means: follow anew.
    pub batches: tokio::sync::broadcast::Receiver<Arc<Batch>>,
}
