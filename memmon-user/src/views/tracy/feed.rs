//! What to tell a profiler, from its first moment on. Pure state: batches in, [`Emit`]s out.
//!
//! Tracy ends the connection where something is allocated twice at an address of a pool, or freed
//! where nothing stands; [`standing`](super::standing) sees to it that neither happens. Where a
//! free was missed, or the journal was too fast for this connection, what Tracy believes is
//! reconciled with what is live.

use std::collections::{BTreeMap, HashMap};

use memmon_ebpf::ledger::RowKey;

use super::{
    emit::{Emit, NameId, Severity},
    messages::Messages,
    names::Names,
    standing::Standing,
};
use crate::tables::{
    Batch, Fact, Filter, Replica, Tables,
    event::EventKind,
    live::{LiveEntry, LiveId},
    snapshot::{Process, Snapshot, Usage},
};

#[derive(Debug, Default)]
pub struct Feed {
    filter: Filter,
    replica: Replica,
    names: Names,
    /// Where the allocations of a row lie; none where they are not asked for. Void whenever more than
    /// an allocation is told.
    places: HashMap<RowKey, Option<Place>>,
    standing: Standing,
    messages: Messages,
    /// Plots that are not at 0.
    raised: BTreeMap<NameId, i64>,
}

#[derive(Debug)]
struct Place {
    /// One on each device.
    pools: Vec<NameId>,
    charged: bool,
}

impl Feed {
    pub fn new(filter: Filter) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// Takes in a checkpoint, or what happened since.
    pub fn apply(&mut self, batch: &Batch) -> Vec<Emit> {
        // Where an event's memory lies may be told behind it.
        for fact in &batch.facts {
            self.replica.apply_fact(fact);
        }
        let mut emits = Vec::new();
        let mut reconciled = false;
        for fact in &batch.facts {
            match fact {
                Fact::Event(event) => match event.kind {
                    EventKind::Alloc | EventKind::Unfreed => {
                        let entry = LiveEntry::of_event(event);
                        // It may be told after the end of what it belongs to.
                        reconciled |= !self.stands(&entry);
                        self.place(entry, &mut emits);
                    }
                    EventKind::Free => {
                        let id = LiveId {
                            proc: event.proc,
                            space: event.row.space,
                            key: event.key,
                        };
                        self.standing.free(&id, &mut emits);
                    }
                    EventKind::Failed | EventKind::UnknownFree | EventKind::Register => {}
                },
                Fact::Failure(failure) if !self.filter.takes_failure(failure) => {}
                Fact::Ending(ending) if !self.filter.takes_pid(ending.pid) => {}
                Fact::Failure(_) | Fact::Ending(_) | Fact::Notice(_) => {
                    emits.extend(self.messages.of(fact));
                }
                _ if moves_much(fact) => {
                    if !reconciled {
                        self.reconcile(&mut emits);
                    }
                    reconciled = true;
                }
                _ => {}
            }
        }
        if reconciled {
            self.reconcile(&mut emits);
        }
        emits
    }

    /// Sums as they are now, and that a refresh ended.
    pub fn refresh(&mut self) -> Vec<Emit> {
        let mut emits = Vec::new();
        self.plot(&mut emits);
        emits.push(Emit::Frame);
        emits
    }

    fn place(&mut self, entry: LiveEntry, emits: &mut Vec<Emit>) {
        let Self {
            filter,
            replica: Replica { tables, .. },
            names,
            places,
            standing,
            ..
        } = self;
        let place = places
            .entry(entry.row_key())
            .or_insert_with_key(|key| place_of(key, filter, tables, names, emits));
        if let Some(Place { pools, charged }) = place {
            let size = if *charged {
                entry.charged
            } else {
                entry.requested
            };
            standing.place(entry.id(), entry.address, size, pools, emits);
        }
    }

    fn stands(&self, entry: &LiveEntry) -> bool {
        let tables = &self.replica.tables;
        tables.knows_process(entry.proc)
            && !tables.has_exited(entry.proc)
            && !tables.is_closed(&entry.row_key())
    }

    /// Frees what is not live, and places what is.
    fn reconcile(&mut self, emits: &mut Vec<Emit>) {
        self.places.clear();
        let live: Vec<LiveEntry> = self
            .replica
            .live
            .iter()
            .filter(|entry| self.stands(entry))
            .copied()
            .collect();
        let ids = live.iter().map(LiveEntry::id).collect();
        self.standing.retain(&ids, emits);
        for entry in live {
            self.place(entry, emits);
        }
    }

    /// A point of every plot that is not at 0, or comes back to it.
    fn plot(&mut self, emits: &mut Vec<Emit>) {
        let snapshot = self.filter.apply(self.replica.snapshot(String::new()));
        let mut raised = BTreeMap::new();
        for (name, bytes) in self.sums(&snapshot) {
            let Some(plot) = self.names.plot(&name, emits) else {
                emits.extend(self.messages.once(
                    Severity::Warning,
                    "too many processes, devices and pools: memmon draws no more plots",
                ));
                break;
            };
            if bytes != 0 || self.raised.contains_key(&plot) {
                emits.push(Emit::Plot { plot, bytes });
            }
            if bytes != 0 {
                raised.insert(plot, bytes);
            }
        }
        for plot in self.raised.keys() {
            if !raised.contains_key(plot) {
                emits.push(Emit::Plot {
                    plot: *plot,
                    bytes: 0,
                });
            }
        }
        self.raised = raised;
    }

    /// By the name of the plot: of processes of one name, pid and device, the sum.
    fn sums(&mut self, snapshot: &Snapshot) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for process in &snapshot.processes {
            for usage in process.usage.iter().flatten() {
                // What is not known is not drawn.
                let Some(bytes) = usage.charged_bytes.or(usage.requested_bytes) else {
                    continue;
                };
                // A process that ended holds nothing, whatever its row still says.
                let bytes = if process.state == "running" { bytes } else { 0 };
                *sums.entry(self.plot_name(process, usage)).or_default() +=
                    i64::try_from(bytes).unwrap_or(i64::MAX);
            }
        }
        sums
    }

    fn plot_name(&mut self, process: &Process, usage: &Usage) -> String {
        let device = self
            .names
            .device(&usage.runtime, usage.device, usage.device_uid.as_deref());
        format!("{}[{}] {device} {}", process.comm, process.pid, usage.pool)
    }
}

fn place_of(
    key: &RowKey,
    filter: &Filter,
    tables: &Tables,
    names: &mut Names,
    emits: &mut Vec<Emit>,
) -> Option<Place> {
    let runtime = tables.runtime_name(key.space);
    let pid = tables.pid_of(key.proc);
    if !filter.takes_runtime(&runtime) || pid.is_some_and(|pid| !filter.takes_pid(pid)) {
        return None;
    }
    let pool = tables.pool_name(key.space, key.pool);
    let devices = tables.devices_of(key);
    let wanted = devices
        .iter()
        .filter(|device| filter.takes_device(device.id));
    let pools = wanted.map(|device| {
        let device = names.device(&runtime, device.id, device.uid.as_deref());
        names.pool(&format!("{device} {pool}"), emits)
    });
    Some(Place {
        pools: pools.collect(),
        charged: tables.is_charged(key.space, key.pool),
    })
}

/// Whether a fact may change more of what is live, or of where it lies, than one allocation.
fn moves_much(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Start { .. }
            | Fact::Process { .. }
            | Fact::Live(_)
            | Fact::Placement { .. }
            | Fact::OwnerOpened { .. }
            | Fact::FreedAll { .. }
            | Fact::Generation { .. }
            | Fact::Exited { .. }
            | Fact::Forget { .. }
    )
}
