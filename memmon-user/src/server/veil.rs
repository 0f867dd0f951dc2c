//! What in the journal and among live allocations is not for everybody: others' command lines, and
//! addresses in the memory of processes (of buffer objects and allocators), which would tell where
//! their libraries and heaps lie. Numbers that mean nothing stand in for addresses, the same for the
//! same address.

use std::hash::{BuildHasher as _, RandomState};

use super::visibility::Sight;
use crate::tables::{Batch, Fact, event::EventKind, live::LiveList};

/// Bits of a number that is exact in every JSON reader.
const EXACT_BITS: u32 = 53;

#[derive(Debug, Default)]
pub struct Veil(RandomState);

impl Veil {
    fn hide(&self, address: &mut u64) {
        *address = self.0.hash_one(*address) >> (u64::BITS - EXACT_BITS);
    }

    pub fn list(&self, sight: Sight, mut list: LiveList) -> LiveList {
        if sight != Sight::Everything {
            for allocation in &mut list.allocations {
                self.hide(&mut allocation.owner);
                self.hide(&mut allocation.key);
            }
            for range in &mut list.ranges {
                self.hide(&mut range.owner);
            }
        }
        list
    }

    pub fn batch(&self, sight: Sight, mut batch: Batch) -> Batch {
        if sight != Sight::Everything {
            for fact in &mut batch.facts {
                self.fact(sight, fact);
            }
        }
        batch
    }

    /// Every kind of fact is named: a new one is not let through unseen.
    fn fact(&self, sight: Sight, fact: &mut Fact) {
        match fact {
            Fact::Process { facts, .. } => {
                if !sight.sees(facts.uid) {
                    facts.command.clear();
                }
            }
            Fact::Placement { owner, .. }
            | Fact::OwnerOpened { owner, .. }
            | Fact::FreedAll { owner, .. }
            | Fact::Generation { owner, .. } => self.hide(&mut owner.owner),
            Fact::Baseline { key, .. } | Fact::Row { key, .. } => self.hide(&mut key.owner),
            Fact::Event(event) => {
                // Of a failure it is an error code.
                if event.kind != EventKind::Failed {
                    self.hide(&mut event.key);
                }
                self.hide(&mut event.row.owner);
            }
            Fact::Live(entries) => {
                for entry in entries {
                    self.hide(&mut entry.key);
                    self.hide(&mut entry.owner);
                }
            }
            Fact::Gone(entries) => {
                for id in entries {
                    self.hide(&mut id.key);
                }
            }
            Fact::Start { .. }
            | Fact::Understood { .. }
            | Fact::Since { .. }
            | Fact::Recovered { .. }
            | Fact::Unseen { .. }
            | Fact::Inexact { .. }
            | Fact::Exact { .. }
            | Fact::Exited { .. }
            | Fact::Forget { .. }
            | Fact::Failure(_)
            | Fact::LargestFree { .. }
            | Fact::Ending(_)
            | Fact::Notice(_)
            | Fact::Libraries(_)
            | Fact::Health(_)
            | Fact::Peaks(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{
        facts::{OwnerId, ProcessFacts},
        live::LiveEntry,
    };

    const ADDRESS: u64 = 0x7fff_1234_5678;

    fn batch() -> Batch {
        let process = |uid| Fact::Process {
            proc: u64::from(uid),
            facts: Box::new(ProcessFacts {
                uid: Some(uid),
                command: vec!["--token=secret".into()],
                ..ProcessFacts::default()
            }),
        };
        let live = LiveEntry {
            key: ADDRESS,
            owner: ADDRESS,
            address: 4096,
            ..LiveEntry::default()
        };
        let owner = OwnerId {
            proc: 1,
            space: 0,
            owner: ADDRESS,
        };
        Batch {
            facts: vec![
                process(1000),
                process(7),
                Fact::OwnerOpened { owner, ogen: 1 },
                Fact::Live(vec![live]),
            ],
            ..Batch::default()
        }
    }

    #[test]
    fn neither_secrets_nor_addresses_pass() {
        let veil = Veil::default();
        let text = |sight| serde_json::to_string(&veil.batch(sight, batch())).unwrap();
        let count = |text: &str, what: &str| text.matches(what).count();
        let (root, own) = (text(Sight::Everything), text(Sight::Own(7)));
        let address = ADDRESS.to_string();
        assert_eq!((count(&root, "secret"), count(&root, &address)), (2, 3));
        assert_eq!((count(&own, "secret"), count(&own, &address)), (1, 0));
        assert_eq!(count(&own, "4096"), 1, "the device's addresses stay");
        assert_eq!(own, text(Sight::Own(7)), "the same numbers every time");
    }
}
