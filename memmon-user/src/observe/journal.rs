//! What the tables are told is told to followers, too.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::observer::Observer;
use crate::{
    clock,
    tables::{Batch, Fact, event::Event},
};

/// Batches that a follower may be behind.
const BACKLOG: usize = 256;

/// Facts for followers; nothing is kept, or copied, where there are none.
#[derive(Debug)]
pub(super) struct Journal {
    sender: broadcast::Sender<Arc<Batch>>,
    pending: Vec<Fact>,
    /// All that happened before is told, or pending.
    complete_ns: u64,
}

impl Journal {
    pub fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
            pending: Vec::new(),
            complete_ns: 0,
        }
    }

    pub fn is_followed(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.sender.subscribe()
    }

    /// All events before this moment have been told.
    pub fn complete_before(&mut self, boot_ns: u64) {
        self.complete_ns = self.complete_ns.max(boot_ns);
    }

    pub fn tell(&mut self, fact: &Fact) {
        if self.is_followed() {
            self.pending.push(fact.clone());
        }
    }

    pub fn events(&mut self, events: &[Event]) {
        self.pending.extend(events.iter().copied().map(Fact::Event));
    }

    /// Hands on what has been told since the last time.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let facts = std::mem::take(&mut self.pending);
        let _ = self.sender.send(Arc::new(self.batch(facts)));
    }

    /// Facts as of the moment when the history was last taken: of what happened since then not everything is told.
    pub fn batch(&self, facts: Vec<Fact>) -> Batch {
        let now = Batch {
            epoch_ns: clock::epoch_ns(),
            boot_ns: clock::boot_ns(),
            facts,
        };
        let boot_ns = self.complete_ns.min(now.boot_ns);
        Batch {
            epoch_ns: now.epoch_of(boot_ns),
            boot_ns,
            ..now
        }
    }
}

impl Observer {
    /// Tells the tables, and whoever follows.
    pub(super) fn tell(&mut self, fact: Fact) {
        self.tables.apply(&fact);
        self.journal.tell(&fact);
    }
}
