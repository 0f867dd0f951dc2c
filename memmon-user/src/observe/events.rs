//! What the kernel reports, taken into the tables.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use memmon_ebpf::{
    ledger::{OwnerKey, OwnerValue, proc_flag},
    record::{Control, ControlKind, History, HistoryKind},
};

use super::{
    keys::{owner_id, owner_key},
    observer::Observer,
    walk,
};
use crate::{
    clock, drain,
    runtimes::resolver::OwnerHint,
    tables::{
        Fact,
        event::{Event, EventKind},
        facts::{DeviceFacts, OwnerId, Placement, Proc, Since},
    },
    target::identity,
};

/// How often an owner is looked for again, and how many at a time.
const TRIES: u32 = 10;
const AT_A_TIME: usize = 8;

/// An owner that was not found.
pub(super) struct Unplaced {
    hint: OwnerHint,
    tries: u32,
    next: Instant,
}

impl Observer {
    pub(super) fn drain_control(&mut self) {
        let mut records: Vec<Control> = Vec::new();
        self.strange_records +=
            drain::take(&mut self.rings.control, |record| records.push(*record));
        let mut ended = Vec::new();
        for record in &records {
            self.control(record, &mut ended);
        }
        let closed = |record: &&Control| record.header.kind == ControlKind::FreeAll as u32;
        if records.iter().any(|record| closed(&record)) {
            self.forget_closed();
        }
        if !ended.is_empty() {
            self.finish(&ended);
        }
    }

    pub(super) fn control(&mut self, record: &Control, ended: &mut Vec<Proc>) {
        let header = &record.header;
        let proc = header.proc;
        let owner = OwnerId {
            proc,
            space: record.space,
            owner: record.owner,
        };
        let is = |kind: ControlKind| header.kind == kind as u32;
        if is(ControlKind::ProcSeen) {
            if self.ignores(header.tgid, proc) {
                return;
            }
            self.acquaint(proc, header.tgid, Some(&record.comm));
            if record.flags & proc_flag::FORKED != 0
                && let Some(watched) = self.processes.get_mut(&proc)
            {
                watched.fresh = true;
                watched.forked = true;
            }
            self.look_at(header.tgid);
        } else if is(ControlKind::OwnerOpen) {
            self.tell(Fact::OwnerOpened {
                owner,
                ogen: record.ogen,
            });
            if self.processes.get(&proc).is_some_and(|known| known.fresh) {
                self.tell(Fact::Since {
                    proc,
                    since: Since::Start,
                });
            }
        } else if is(ControlKind::OwnerSeen) {
            let hint = OwnerHint {
                owner: record.owner,
                device: record.device,
                aux: record.aux,
            };
            self.place(owner, record.ogen, &hint);
        } else if is(ControlKind::FreeAll) {
            // What failed before is told with what was held then.
            self.drain_history();
            self.count_closed(&owner, record.ogen);
            self.tell(Fact::FreedAll {
                owner,
                ended: record.ogen,
            });
        } else if is(ControlKind::Exit) {
            if record.flags & proc_flag::INEXACT != 0 {
                self.tell(Fact::Inexact { proc });
            }
            const MAYBE: u32 = 1 << 31;
            if record.flags & MAYBE == 0 || !identity::is_running(header.tgid) {
                ended.push(proc);
            }
        } else if is(ControlKind::Exec) {
            ended.push(proc);
        }
    }

    /// An owner's first allocation: finds out where its memory lies.
    pub(super) fn place(&mut self, owner: OwnerId, ogen: u32, hint: &OwnerHint) {
        if !self.runtimes.places_devices(owner.space) {
            return self.place_by_number(owner, ogen, hint.device);
        }
        let Some(watched) = self.processes.get(&owner.proc) else {
            return;
        };
        // Its library may still be unknown.
        let found = watched
            .uses
            .iter()
            .filter(|(using, _)| using.space == owner.space)
            .find_map(|(using, base)| {
                walk::owners(using.model.as_deref()?, watched.pid, *base, hint).ok()
            });
        for found in found.unwrap_or_default() {
            let id = OwnerId {
                owner: found.owner,
                ..owner
            };
            let ogen = if found.owner == owner.owner {
                ogen
            } else {
                self.tables.current_generation(&id)
            };
            self.tell(Fact::Placement {
                owner: id,
                ogen,
                placement: found.placement.lasting(),
            });
        }
        if self.tables.placement_of(&owner, ogen).is_some() {
            self.unplaced.remove(&(owner, ogen));
        } else {
            // The process may have been in the middle of something.
            let known = self.unplaced.entry((owner, ogen));
            known.or_insert(Unplaced {
                hint: *hint,
                tries: 0,
                next: Instant::now(),
            });
        }
    }

    /// The probe said which device it is, numbered from 1.
    fn place_by_number(&mut self, owner: OwnerId, ogen: u32, device: u64) {
        let Some(id) = device.checked_sub(1).and_then(|id| i64::try_from(id).ok()) else {
            return;
        };
        let devices = vec![DeviceFacts {
            id: Some(id),
            ..DeviceFacts::default()
        }];
        let pools = BTreeMap::new();
        self.tell(Fact::Placement {
            owner,
            ogen,
            placement: Placement { devices, pools },
        });
    }

    /// An owner whose first allocation no record told of, or has told of yet.
    pub(super) fn place_stored(&mut self, key: &OwnerKey, value: &OwnerValue) {
        let owner = owner_id(key);
        if value.device != 0 && !self.tables.is_placed(&owner, value.ogen) {
            let hint = OwnerHint {
                owner: key.owner,
                device: value.device,
                aux: value.aux,
            };
            self.place(owner, value.ogen, &hint);
        }
    }

    /// Where the memory lies that was asked for in vain: of a first allocation, what tells of its owner is in another
    /// buffer, and may not have been taken out yet.
    fn place_failed(&mut self, events: &[Event]) {
        let failed = events.iter().filter(|it| it.kind == EventKind::Failed);
        let owners: BTreeMap<OwnerId, (Proc, u32)> = failed
            .map(|event| (OwnerId::of(&event.row), event))
            .filter(|(owner, event)| !self.tables.is_placed(owner, event.row.ogen))
            .map(|(owner, event)| (owner, (event.proc, event.pid)))
            .collect();
        for (owner, (proc, pid)) in owners {
            let running = self.kernel.procs.get(pid);
            if running.is_some_and(|value| value.proc == proc) {
                self.acquaint(proc, pid, None);
            }
            let key = owner_key(owner.proc, owner.space, owner.owner);
            if let Some(value) = self.kernel.owners.get(key) {
                self.place_stored(&key, &value);
            }
        }
    }

    /// Looks again for owners that were not found where their first allocation said.
    pub(super) fn place_again(&mut self) {
        let gone = |owner: &OwnerId| !self.processes.contains_key(&owner.proc);
        let over: Vec<_> = self
            .unplaced
            .iter()
            .filter(|((owner, ogen), unplaced)| {
                unplaced.tries >= TRIES
                    || gone(owner)
                    || self.tables.current_generation(owner) > *ogen
            })
            .map(|(key, _)| *key)
            .collect();
        for key in over {
            self.unplaced.remove(&key);
        }
        let now = Instant::now();
        let due: Vec<_> = self
            .unplaced
            .iter()
            .filter(|(_, unplaced)| unplaced.next <= now)
            .map(|(key, _)| *key)
            .take(AT_A_TIME)
            .collect();
        for key in due {
            let Some(unplaced) = self.unplaced.get_mut(&key) else {
                continue;
            };
            // Soon at first, then ever later: 10 seconds in all.
            unplaced.next = now + Duration::from_millis(10 << unplaced.tries);
            unplaced.tries += 1;
            let hint = unplaced.hint;
            self.place(key.0, key.1, &hint);
        }
    }

    pub(super) fn drain_history(&mut self) {
        let followed = self.journal.is_followed();
        let mut events = self.take_history(followed || self.awaits_free_blocks());
        if followed {
            self.journal.events(&events);
        }
        if events.iter().any(|event| event.kind == EventKind::Failed) {
            // Who holds the memory now, not at the last refresh. What happened until these totals
            // were read is history by now.
            self.read_totals();
            let since = self.take_history(true);
            if followed {
                self.journal.events(&since);
            }
            events.extend(since);
            self.place_failed(&events);
            self.note_failures(&events);
        }
        self.keep_for_free_blocks(&events);
    }

    /// From the first failure on; all of it where `wanted`.
    fn take_history(&mut self, mut wanted: bool) -> Vec<Event> {
        let mut events = Vec::new();
        self.journal.complete_before(clock::boot_ns());
        self.strange_records += drain::take(&mut self.rings.history, |record: &History| {
            wanted |= record.header.kind == HistoryKind::Failed as u32;
            if wanted {
                events.extend(Event::of(record));
            }
        });
        events
    }
}
