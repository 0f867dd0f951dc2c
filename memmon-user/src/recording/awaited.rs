//! What has to be told before events can be written: where the memory lies that they are of. A reader
//! that stops right behind them must know.

use std::collections::HashSet;

use crate::tables::{Batch, Fact, Tables, facts::OwnerId};

/// An allocator, in a generation.
type Owner = (OwnerId, u32);

#[derive(Debug, Default)]
pub struct Awaited {
    events: bool,
    owners: HashSet<Owner>,
    /// Told, and not yet written.
    placed: HashSet<Owner>,
    /// It was waited for in vain: not every runtime says.
    given_up: HashSet<Owner>,
}

impl Awaited {
    /// `tables`: what is written already.
    pub fn take(&mut self, batch: &Batch, tables: &Tables) {
        let mut last = None;
        for fact in &batch.facts {
            match fact {
                Fact::Event(event) => {
                    self.events = true;
                    let owner = (OwnerId::of(&event.row), event.row.ogen);
                    if last.replace(owner) != Some(owner) && !self.is_known(&owner, tables) {
                        self.owners.insert(owner);
                    }
                }
                Fact::Placement { owner, ogen, .. } => {
                    self.owners.remove(&(*owner, *ogen));
                    self.placed.insert((*owner, *ogen));
                }
                Fact::Exited { proc, .. } | Fact::Forget { proc } => {
                    let of_others = |(owner, _): &Owner| owner.proc != *proc;
                    self.owners.retain(of_others);
                    self.given_up.retain(of_others);
                }
                _ => {}
            }
        }
    }

    fn is_known(&self, owner: &Owner, tables: &Tables) -> bool {
        self.placed.contains(owner)
            || self.given_up.contains(owner)
            || tables.is_placed(&owner.0, owner.1)
    }

    /// Whether there are events, and all is told of where their memory lies.
    pub fn is_complete(&self) -> bool {
        self.events && self.owners.is_empty()
    }

    /// Starts over: what was not told by now is not waited for again.
    pub fn give_up(&mut self) {
        self.events = false;
        self.placed.clear();
        self.given_up.extend(self.owners.drain());
    }
}
