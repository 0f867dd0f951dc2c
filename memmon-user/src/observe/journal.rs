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
}

impl Journal {
    pub fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
            pending: Vec::new(),
        }
    }

    pub fn is_followed(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.sender.subscribe()
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
        let _ = self
            .sender
            .send(Arc::new(batch(std::mem::take(&mut self.pending))));
    }
}

/// Facts as of now.
pub(super) fn batch(facts: Vec<Fact>) -> Batch {
    Batch {
        epoch_ns: clock::epoch_ns(),
        boot_ns: clock::boot_ns(),
        facts,
    }
}

impl Observer {
    /// Tells the tables, and whoever follows.
    pub(super) fn tell(&mut self, fact: Fact) {
        self.tables.apply(&fact);
        self.journal.tell(&fact);
    }
}
