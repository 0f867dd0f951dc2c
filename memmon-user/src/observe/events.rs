//! What the kernel reports, taken into the tables.

use memmon_ebpf::{
    ledger::proc_flag,
    record::{Control, ControlKind, History, HistoryKind},
};

use super::{observer::Observer, walk};
use crate::{
    drain,
    runtimes::resolver::OwnerHint,
    tables::{
        Fact,
        event::{Event, EventKind},
        facts::{OwnerId, Proc, Since},
    },
    target::identity,
};

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
            self.place(record, owner);
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
    pub(super) fn place(&mut self, record: &Control, owner: OwnerId) {
        let hint = OwnerHint {
            owner: record.owner,
            device: record.device,
            aux: record.aux,
        };
        let Some(watched) = self.processes.get(&owner.proc) else {
            return;
        };
        let found = watched
            .uses
            .iter()
            .filter(|(using, _)| using.space == owner.space)
            .find_map(|(using, base)| {
                walk::owners(using.model.as_deref()?, watched.pid, *base, &hint).ok()
            });
        for found in found.unwrap_or_default() {
            let id = OwnerId {
                owner: found.owner,
                ..owner
            };
            let ogen = if found.owner == owner.owner {
                record.ogen
            } else {
                self.tables.current_generation(&id)
            };
            self.tell(Fact::Placement {
                owner: id,
                ogen,
                placement: found.placement.lasting(),
            });
        }
    }

    pub(super) fn drain_history(&mut self) {
        let followed = self.journal.is_followed();
        let mut events = self.take_history(followed || self.looks_for_free());
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
            self.note_failures(&events);
        }
        self.keep_for_free(&events);
    }

    /// From the first failure on; all of it where `wanted`.
    fn take_history(&mut self, mut wanted: bool) -> Vec<Event> {
        let mut events = Vec::new();
        self.strange_records += drain::take(&mut self.rings.history, |record: &History| {
            wanted |= record.header.kind == HistoryKind::Failed as u32;
            if wanted {
                events.extend(Event::of(record));
            }
        });
        events
    }
}
