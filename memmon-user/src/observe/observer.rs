//! The observer itself: what it holds, and the loop that keeps it up to date. What the loop calls
//! lies beside: [`super::discovery`], [`super::recovery`], [`super::events`], [`super::endings`].

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    sync::Arc,
    time::Duration,
};

use memmon_ebpf::ledger::{Counter, OwnerKey, OwnerValue, RowKey, RowValue, proc_flag};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};

use super::{
    Options, Runtimes, StartError,
    ahead::{self, Mappings},
    audit::{AuditRequest, Auditor, Healing},
    events::Unplaced,
    failed_allocations::FailedAllocations,
    inspector::Inspector,
    journal::Journal,
    keys::owner_id,
    libraries::{Libraries, Use},
    observation::Request,
    rates::Rates,
};
use crate::{
    attach::{
        features::Features,
        kernel::{Kernel, Settings},
        rings::Rings,
    },
    clock,
    discover::watch::MappingWatch,
    tables::{
        Fact, Follower, Tables,
        facts::{OwnerId, Proc},
        live::Inspect,
        snapshot::{self, Audit, Health, Notice, NoticeKind, Snapshot},
    },
};

/// How often processes are looked for that ended unnoticed. The history needs no timer: it is taken
/// with every snapshot, and where it fills up the kernel wakes us.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A process that is observed.
pub(super) struct Watched {
    pub pid: u32,
    pub start_ticks: Option<u64>,
    pub uses: Vec<(Use, u64)>,
    /// It held nothing when it was first looked at: what it has is seen from its start.
    pub fresh: bool,
    /// The kernel had no room for it: none of its events is counted.
    pub uncounted: bool,
    /// A child of an observed process: what it inherited is not its own.
    pub forked: bool,
    /// Frees in it have left traces in the live map, or what was recovered of it is there.
    pub traced: bool,
    /// When it is looked at again, where not everything of it is known.
    pub healing: Option<Healing>,
}

impl Watched {
    /// Its runtimes whose allocators can be read in its memory.
    pub fn readable(&self) -> impl Iterator<Item = u32> {
        let readable = |(using, _): &(Use, u64)| using.model.is_some().then_some(using.space);
        self.uses.iter().filter_map(readable)
    }

    /// Whether those are all that it has.
    pub fn is_readable(&self) -> bool {
        !self.uses.is_empty() && self.readable().count() == self.uses.len()
    }
}

/// Where questions come from.
pub(super) struct Inboxes {
    pub requests: mpsc::Receiver<Request>,
    pub inspections: mpsc::Receiver<Inspect>,
    pub follows: mpsc::Receiver<oneshot::Sender<Follower>>,
    pub audits: mpsc::Receiver<AuditRequest>,
}

pub(super) struct Observer {
    pub(super) options: Options,
    pub(super) runtimes: Runtimes,
    pub(super) kernel: Kernel,
    pub(super) rings: Rings,
    pub(super) watch: MappingWatch,
    pub(super) libraries: Libraries,
    pub(super) mappings: Mappings,
    pub(super) tables: Tables,
    pub(super) journal: Journal,
    pub(super) inspector: Inspector,
    pub(super) auditor: Auditor,
    /// The latest audit of everything.
    pub(super) latest_audit: Option<Box<Audit>>,
    pub(super) failed_allocations: FailedAllocations,
    pub(super) rates: Rates,
    pub(super) processes: HashMap<Proc, Watched>,
    pub(super) next_proc: Proc,
    /// Live-map entries that dead processes and ended generations left.
    pub(super) stale_live: u64,
    /// Recovered allocations that the live map had no room for.
    pub(super) not_remembered: u64,
    /// What the kernel's other tables had no room for.
    pub(super) not_stored: u64,
    pub(super) strange_records: u64,
    pub(super) lost_notices: u64,
    /// Processes that ended and are no longer shown, because so many ended.
    pub(super) forgotten_early: u64,
    pub(super) last_lost_control: u64,
    pub(super) sweeps: u64,
    /// Processes that the kernel has numbers of, and that nobody knows.
    pub(super) orphans: HashSet<Proc>,
    /// Owners, in which generation, whose devices are not known.
    pub(super) unplaced: BTreeMap<(OwnerId, u32), Unplaced>,
}

type Rows = Vec<(RowKey, RowValue)>;
type Owners = Vec<(OwnerKey, OwnerValue)>;

/// Numbers of processes that userspace found; the kernel's own count from 1.
pub(super) const FOUND_BY_US: Proc = 1 << 63;

impl Observer {
    pub(super) fn new(options: Options, runtimes: Runtimes) -> Result<Self, StartError> {
        let features = Features::detect(options.assume_kernel.as_deref())?;
        let is_command = options.command.is_some();
        let narrowed = !options.filter.pids.is_empty() || is_command;
        let defaults = Settings::default();
        let words = options.command.as_deref();
        let found = words.map(|words| ahead::find(words, &runtimes));
        let found = found.unwrap_or_default();
        let settings = Settings {
            narrowed,
            inherit_scope: is_command,
            returns: !found.is_empty(),
            history_bytes: options.history_bytes.unwrap_or(defaults.history_bytes),
            live_entries: options.live_entries.unwrap_or(defaults.live_entries),
            map_entries: options.map_entries.clone(),
        };
        let (understandings, loaded) =
            ahead::understand_while(&found, &runtimes, || Kernel::load(&features, &settings));
        let (mut kernel, rings) = loaded?;
        for pid in &options.filter.pids {
            kernel.add_to_scope(*pid)?;
        }
        if is_command {
            // Children inherit the scope when they are forked: none of their steps is missed.
            kernel.add_to_scope(std::process::id())?;
        }
        // Before the scan, so that nothing falls between the two.
        let watch = MappingWatch::open().map_err(StartError::Watch)?;
        let observer = snapshot::Observer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: clock::now(),
            scope: options.scope(),
        };
        let reader = kernel.live.reader().map_err(StartError::Thread)?;
        let inspector =
            Inspector::start(reader, features.release.version).map_err(StartError::Thread)?;
        let auditor =
            Auditor::start(&kernel, features.release.version).map_err(StartError::Thread)?;
        let tables = Tables::new(host_name(), observer, runtimes.facts());
        let mut observer = Self {
            options,
            runtimes,
            kernel,
            rings,
            watch,
            libraries: Libraries::with(understandings),
            mappings: Mappings::default(),
            tables,
            journal: Journal::new(),
            inspector,
            auditor,
            latest_audit: None,
            failed_allocations: FailedAllocations::default(),
            rates: Rates::default(),
            processes: HashMap::new(),
            next_proc: FOUND_BY_US,
            stale_live: 0,
            not_remembered: 0,
            not_stored: 0,
            strange_records: 0,
            lost_notices: 0,
            forgotten_early: 0,
            last_lost_control: 0,
            sweeps: 0,
            orphans: HashSet::new(),
            unplaced: BTreeMap::new(),
        };
        if is_command {
            // Nobody runs yet who is observed.
            observer.attach_ahead(found);
        } else {
            observer.scan();
        }
        observer.collect();
        Ok(observer)
    }

    pub(super) async fn run(
        &mut self,
        inboxes: Inboxes,
        snapshots: Arc<watch::Sender<Arc<Snapshot>>>,
        refresh: Duration,
        mut stopped: oneshot::Receiver<()>,
    ) -> io::Result<()> {
        let control = readable(self.rings.control_fd())?;
        let history = readable(self.rings.history_fd())?;
        let messages = readable(self.rings.messages_fd())?;
        let mappings = readable(self.watch.as_raw_fd())?;
        let mut refresh = tokio::time::interval(refresh);
        let Inboxes {
            requests: mut inbox,
            mut inspections,
            mut follows,
            mut audits,
        } = inboxes;
        let mut audit_timer = self.options.audit.map(|every| {
            let first = tokio::time::Instant::now() + every;
            tokio::time::interval_at(first, every)
        });
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let timers = [&mut refresh, &mut sweep];
        for timer in timers.into_iter().chain(&mut audit_timer) {
            timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        loop {
            let healing = self.next_healing();
            tokio::select! {
                guard = control.readable() => {
                    guard?.clear_ready();
                    self.drain_control();
                }
                guard = mappings.readable() => {
                    guard?.clear_ready();
                    self.drain_mappings();
                }
                guard = history.readable() => {
                    guard?.clear_ready();
                    self.drain_history();
                }
                guard = messages.readable() => {
                    guard?.clear_ready();
                    self.rings.messages.forward();
                }
                _ = &mut stopped => return Ok(()),
                _ = sweep.tick() => self.sweep(),
                _ = refresh.tick() => {
                    // Nobody looks: nothing to draw up.
                    if snapshots.receiver_count() > 0 {
                        let snapshot = self.snapshot();
                        snapshots.send_replace(Arc::new(snapshot));
                    } else if self.journal.is_followed() {
                        self.collect();
                    }
                }
                Some(found) = self.inspector.taken.recv() => self.note_taken(found),
                Some(finding) = self.auditor.findings.recv() => self.take_finding(finding),
                () = due(healing) => self.heal(),
                () = tick(audit_timer.as_mut()) => self.audit_all(),
                Some(request) = audits.recv() => self.audit(request),
                Some(inspect) = inspections.recv() => self.inspect(inspect),
                Some(reply) = follows.recv() => self.follow(reply),
                request = inbox.recv() => {
                    let Some(Request { filter, reply }) = request else {
                        return Ok(());
                    };
                    let _ = reply.send(filter.apply(self.snapshot()));
                }
            }
            self.journal.flush();
        }
    }

    /// A snapshot of now, in the observation's own scope.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.collect();
        let snapshot = self.tables.snapshot(clock::now());
        self.options.filter.apply(snapshot)
    }

    /// Takes in everything that has happened.
    pub(super) fn collect(&mut self) {
        self.drain_mappings();
        self.drain_control();
        self.drain_history();
        self.place_again();
        self.read_rows();
        self.note_libraries();
        self.note_health();
        self.journal.flush();
    }

    /// Rows as they are now; what is new about them is told.
    pub(super) fn read_rows(&mut self) -> (Rows, Owners) {
        let rows = self.kernel.rows.all();
        let owners = self.read_generations();
        self.tell_rows(&rows);
        (rows, owners)
    }

    /// Rows alone: what ended meanwhile is told in its turn.
    pub(super) fn read_totals(&mut self) {
        let rows = self.kernel.rows.all();
        self.tell_rows(&rows);
    }

    fn read_generations(&mut self) -> Owners {
        // Generations are read too: a `FreeAll` whose record was lost heals here.
        let owners = self.kernel.owners.all();
        for (key, value) in &owners {
            let owner = owner_id(key);
            if value.ogen > self.tables.current_generation(&owner) {
                self.tell(Fact::Generation {
                    owner,
                    ogen: value.ogen,
                });
            }
        }
        self.read_doubts();
        owners
    }

    /// Processes of which something could not be counted.
    fn read_doubts(&mut self) {
        let mut doubtful = Vec::new();
        for (pid, value) in self.kernel.procs.all() {
            let proc = value.proc;
            if value.flags & proc_flag::INEXACT != 0 && !self.tables.is_inexact(proc) {
                self.tell(Fact::Inexact { proc });
                doubtful.push((pid, proc));
            }
        }
        let Some((pid, proc)) = doubtful.first() else {
            return;
        };
        let comm = self.tables.facts_of(*proc).map(|facts| &facts.comm);
        let others = match doubtful.len() - 1 {
            0 => String::new(),
            others => format!(" and of {others} more"),
        };
        let text = format!(
            "of pid {pid} ({}){others} something could not be counted: numbers with ~ may be wrong from here on",
            comm.map_or("?", String::as_str)
        );
        self.tell(Fact::Notice(Notice {
            at: clock::now(),
            kind: NoticeKind::Inexact,
            text,
        }));
    }

    pub(super) fn tell_rows(&mut self, rows: &[(RowKey, RowValue)]) {
        for (key, value) in rows {
            if self.tables.is_new(key, value) {
                self.tell(Fact::Row {
                    key: *key,
                    value: *value,
                });
            }
        }
        self.tables.raise_peaks();
    }

    fn note_libraries(&mut self) {
        let libraries = self.libraries.rows(&self.runtimes);
        let known = self.tables.known_libraries();
        if libraries == known {
            return;
        }
        let problems: Vec<Notice> = libraries
            .iter()
            .filter_map(|library| {
                let problem = library.problem.as_ref()?;
                let is_known = known
                    .iter()
                    .any(|before| before.path == library.path && before.problem == library.problem);
                (!is_known).then(|| Notice {
                    at: clock::now(),
                    kind: NoticeKind::Library,
                    text: format!("{} is not understood: {problem}", library.path),
                })
            })
            .collect();
        for problem in problems {
            self.tell(Fact::Notice(problem));
        }
        self.tell(Fact::Libraries(libraries));
    }

    pub(super) fn note_health(&mut self) {
        let health = self.health();
        let known = self.tables.known_health();
        if health == *known {
            return;
        }
        let lost = health.lost_events.saturating_sub(known.lost_events);
        if lost > 0 {
            self.tell(Fact::Notice(Notice {
                at: clock::now(),
                kind: NoticeKind::Loss,
                text: format!("the history of {lost} events was lost; totals are not affected"),
            }));
        }
        self.tell(Fact::Health(health));
    }

    pub(super) fn health(&self) -> Health {
        let counters = self.kernel.counters();
        let mut notes = Vec::new();
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                notes.push(format!("{count} {text}"));
            }
        };
        note(
            counters.get(Counter::LiveFull) + self.not_remembered,
            "allocations were not remembered: more are live than fit (--live-entries); their rows are inexact",
        );
        note(
            counters.get(Counter::LiveRefused),
            "allocations or frees were not stored by the kernel, which was short of memory or kept a lock for too long; \
             their rows are inexact",
        );
        note(
            counters.get(Counter::TableFull) + self.not_stored,
            "times a table of the kernel's was full; the processes that this was about are inexact or unknown",
        );
        note(
            counters.get(Counter::LostControl),
            "process events were lost; processes were looked up again",
        );
        note(
            counters.get(Counter::BadSpecs) + self.strange_records,
            "records or probes of another version were ignored",
        );
        note(
            self.lost_notices,
            "times notices of new libraries were lost; all processes were scanned again",
        );
        note(
            self.forgotten_early,
            "processes that ended were shown for less than a minute: too many ended at once",
        );
        notes.extend(self.rates.notes.iter().cloned());
        Health {
            events: counters.get(Counter::Events),
            lost_events: counters.get(Counter::LostHistory) + counters.get(Counter::LostControl),
            failed_reads: counters.get(Counter::FailedReads),
            unknown_frees: counters.get(Counter::UnknownFrees),
            failed_frees: counters.get(Counter::FailedFrees),
            inexact_rows: 0,
            inherited_frees: counters.get(Counter::InheritedFrees),
            notes,
            audit: self.latest_audit.clone(),
        }
    }
}

/// Resolves at that moment; never where there is none.
async fn due(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn tick(timer: Option<&mut tokio::time::Interval>) {
    match timer {
        Some(timer) => {
            timer.tick().await;
        }
        None => std::future::pending().await,
    }
}

pub(super) fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default()
}

/// Watches a descriptor of its own that stands for the same thing.
fn readable(fd: RawFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the observer, which owns it, calls this and lives longer than the borrow.
    let owned = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    // SAFETY: an owned descriptor stays open, and the same, until the `AsyncFd` drops it.
    unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) }.map_err(io::Error::from)
}
