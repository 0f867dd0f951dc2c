//! Facts into tables, and tables into facts.

use super::{
    Tables,
    event::{Event, EventKind},
    facts::OwnerId,
    journal::Fact,
    rows::{GroupKey, PeakFact},
};

impl Tables {
    pub fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Start {
                host,
                observer,
                runtimes,
            } => *self = Self::new(host.clone(), observer.clone(), runtimes.clone()),
            Fact::Process { proc, facts } => self.process(*proc, (**facts).clone()),
            Fact::Understood { proc, understood } => self.understood(*proc, *understood),
            Fact::Since { proc, since } => self.since(*proc, *since),
            Fact::Recovered { proc, space } => self.recovered(*proc, *space, true),
            Fact::Unseen { proc, space } => self.unseen(*proc, *space),
            Fact::Inexact { proc } => self.inexact(*proc),
            Fact::Exact { proc } => self.exact(*proc),
            Fact::Exited { proc, at_ns } => self.exited(*proc, *at_ns),
            Fact::Forget { proc } => self.forget_process(*proc),
            Fact::Placement {
                owner,
                ogen,
                placement,
            } => self.placement(*owner, *ogen, placement.clone()),
            Fact::OwnerOpened { owner, ogen } => self.owner_opened(*owner, *ogen),
            Fact::FreedAll { owner, ended } => self.freed_all(*owner, *ended),
            Fact::Generation { owner, ogen } => self.generation(*owner, *ogen),
            Fact::Baseline { key, baseline } => self.baseline(*key, *baseline),
            Fact::Row { key, value } => self.row(*key, *value),
            Fact::Event(event) => self.event(event),
            Fact::Failure(failure) => self.failure((**failure).clone()),
            Fact::LargestFree {
                failure,
                bytes_per_bank,
            } => self.largest_free(*failure, *bytes_per_bank),
            Fact::Ending(ending) => self.ending(ending.clone()),
            Fact::Notice(notice) => self.notice(notice.clone()),
            Fact::Libraries(libraries) => self.libraries(libraries.clone()),
            Fact::Health(health) => self.health(health.clone()),
            Fact::Peaks(peaks) => self.peaks(peaks),
            Fact::Live(_) | Fact::Gone(_) => {}
        }
    }

    /// One event, ahead of the row that the kernel will tell: where that has been told already, the
    /// event is in it.
    fn event(&mut self, event: &Event) {
        if event.sequence == 0 {
            return;
        }
        let row = &mut self.rows.entry(event.row).or_default().kernel;
        let ahead = event
            .sequence
            .wrapping_sub(row.sequence as u32)
            .cast_signed();
        if ahead <= 0 {
            return;
        }
        // Sizes are what the target says: sums wrap around, as in the kernel.
        row.sequence = row.sequence.wrapping_add(ahead.unsigned_abs().into());
        let (requested, charged) = (event.requested.cast_signed(), event.charged.cast_signed());
        match event.kind {
            EventKind::Alloc => {
                row.requested = row.requested.wrapping_add(requested);
                row.charged = row.charged.wrapping_add(charged);
                row.peak_charged = row.peak_charged.max(row.charged);
                row.live = row.live.wrapping_add(1);
                row.allocations = row.allocations.wrapping_add(1);
            }
            EventKind::Register => {
                row.requested = row.requested.wrapping_add(requested);
                row.live = row.live.wrapping_add(1);
                row.allocations = row.allocations.wrapping_add(1);
            }
            EventKind::Free => {
                row.requested = row.requested.wrapping_sub(requested);
                row.charged = row.charged.wrapping_sub(charged);
                row.live = row.live.wrapping_sub(1);
                row.frees = row.frees.wrapping_add(1);
            }
            EventKind::Failed => {
                row.failed = row.failed.wrapping_add(1);
                row.failed_bytes = row.failed_bytes.wrapping_add(event.requested);
            }
            EventKind::Unfreed => {
                row.requested = row.requested.wrapping_add(requested);
                row.charged = row.charged.wrapping_add(charged);
                row.live = row.live.wrapping_add(1);
                row.frees = row.frees.wrapping_sub(1);
            }
            EventKind::UnknownFree => {}
        }
    }

    fn peaks(&mut self, peaks: &[PeakFact]) {
        for peak in peaks {
            let PeakFact {
                proc,
                space,
                device,
                pool,
                charged,
            } = peak.clone();
            let kept = match proc {
                Some(proc) => self
                    .peaks
                    .entry(GroupKey {
                        proc,
                        space,
                        device,
                        pool,
                    })
                    .or_default(),
                None => self.device_peaks.entry((device, space, pool)).or_default(),
            };
            *kept = (*kept).max(charged);
        }
    }

    /// Facts that make these tables anew.
    pub fn checkpoint(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::Start {
            host: self.host.clone(),
            observer: self.observer.clone(),
            runtimes: self.runtimes.clone(),
        }];
        for (proc, entry) in &self.processes {
            let proc = *proc;
            facts.push(Fact::Process {
                proc,
                facts: Box::new(entry.facts.clone()),
            });
            if let Some(understood) = entry.understood {
                facts.push(Fact::Understood { proc, understood });
            }
            facts.push(Fact::Since {
                proc,
                since: entry.since,
            });
            let spaces = entry.recovered.iter();
            facts.extend(spaces.map(|space| Fact::Recovered {
                proc,
                space: *space,
            }));
            for space in &entry.unseen {
                facts.push(Fact::Unseen {
                    proc,
                    space: *space,
                });
            }
            if entry.inexact {
                facts.push(Fact::Inexact { proc });
            }
        }
        self.placement_facts(&mut facts);
        for (owner, ogen) in &self.generations {
            facts.push(Fact::Generation {
                owner: *owner,
                ogen: *ogen,
            });
        }
        for (key, row) in &self.rows {
            facts.push(Fact::Baseline {
                key: *key,
                baseline: row.baseline,
            });
            facts.push(Fact::Row {
                key: *key,
                value: row.kernel,
            });
        }
        // After their rows, for what ends takes its live allocations along.
        for (proc, entry) in &self.processes {
            if let Some(at_ns) = entry.exited_ns {
                facts.push(Fact::Exited { proc: *proc, at_ns });
            }
        }
        facts.push(Fact::Peaks(self.peak_facts()));
        facts.extend(
            self.failures
                .iter()
                .cloned()
                .map(Box::new)
                .map(Fact::Failure),
        );
        facts.extend(self.endings.iter().cloned().map(Fact::Ending));
        facts.extend(self.notices.iter().cloned().map(Fact::Notice));
        facts.push(Fact::Libraries(self.libraries.clone()));
        facts.push(Fact::Health(self.health.clone()));
        facts
    }

    /// In the order in which they were told, for the latest counts.
    fn placement_facts(&self, facts: &mut Vec<Fact>) {
        let mut all: Vec<_> = self
            .placements
            .iter()
            .flat_map(|(owner, generations)| {
                generations
                    .iter()
                    .map(move |(ogen, placed)| (placed.order, *owner, *ogen, &placed.placement))
            })
            .collect();
        all.sort_by_key(|(order, owner, ogen, _): &(u64, OwnerId, u32, _)| (*order, *owner, *ogen));
        facts.extend(
            all.into_iter()
                .map(|(_, owner, ogen, placement)| Fact::Placement {
                    owner,
                    ogen,
                    placement: placement.clone(),
                }),
        );
    }

    fn peak_facts(&self) -> Vec<PeakFact> {
        let of_processes = self.peaks.iter().map(|(key, charged)| PeakFact {
            proc: Some(key.proc),
            space: key.space,
            device: key.device.clone(),
            pool: key.pool,
            charged: *charged,
        });
        let of_devices = self
            .device_peaks
            .iter()
            .map(|((device, space, pool), charged)| PeakFact {
                proc: None,
                space: *space,
                device: device.clone(),
                pool: *pool,
                charged: *charged,
            });
        of_processes.chain(of_devices).collect()
    }
}
