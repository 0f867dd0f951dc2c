//! The running observation: one thread owns the kernel side and the tables; everything else gets
//! snapshots from it.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    sync::Arc,
    thread,
    time::Duration,
};

use memmon_ebpf::{
    ledger::{Counter, LiveKey, LiveValue, OwnerKey, ProcValue, RowKey, live_flag, proc_flag},
    record::{Control, ControlKind, History, HistoryKind},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};

use super::{
    Options, Runtimes, clock,
    libraries::{Libraries, Use},
    recover,
};
use crate::{
    attach::{
        features::{FeatureError, Features},
        kernel::{Kernel, KernelError, Rings, Settings},
    },
    discover::{
        scan::{self, Mapped},
        watch::{MappingWatch, Notice},
    },
    drain,
    runtimes::resolver::{OwnerHint, Recovered},
    tables::{
        Filter, Tables,
        facts::{Baseline, OwnerId, Proc, ProcessFacts, Since},
        snapshot::{self, Health, Snapshot},
    },
    target::{identity, maps},
};

/// How often the drain looks at the history where no wake-up comes, and for processes that ended
/// unnoticed.
const DRAIN_EVERY: Duration = Duration::from_millis(50);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Entries of dead processes in the live map from which it is swept at once.
const STALE_LIVE: u64 = 50_000;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Feature(#[from] FeatureError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error("cannot watch for new libraries (perf_event_open: {0})")]
    Watch(#[source] io::Error),
    #[error("cannot start the observer: {0}")]
    Thread(#[source] io::Error),
}

impl StartError {
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Kernel(error) => error.is_permission(),
            Self::Watch(error) => error.kind() == io::ErrorKind::PermissionDenied,
            Self::Feature(_) | Self::Thread(_) => false,
        }
    }
}

/// Asks for a snapshot that includes everything that happened before.
#[derive(Debug)]
pub struct Request {
    pub filter: Filter,
    pub reply: oneshot::Sender<Snapshot>,
}

/// What others hold of a running observation. It ends when this is dropped.
#[derive(Debug)]
pub struct Observation {
    /// The latest snapshot, at every refresh.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub requests: mpsc::Sender<Request>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Observation {
    /// Attaches, and returns when everything that runs already is observed.
    pub fn start(
        options: Options,
        runtimes: Runtimes,
        refresh: Duration,
    ) -> Result<Self, StartError> {
        let (requests, inbox) = mpsc::channel(64);
        let (ready, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = ready.send(Err(StartError::Thread(error)));
                        return;
                    }
                };
                runtime.block_on(async move {
                    let mut observer = match Observer::new(options, runtimes) {
                        Ok(observer) => observer,
                        Err(error) => {
                            let _ = ready.send(Err(error));
                            return;
                        }
                    };
                    let (snapshots, receiver) = watch::channel(Arc::new(observer.snapshot()));
                    let _ = ready.send(Ok(receiver));
                    if let Err(error) = observer.run(inbox, snapshots, refresh).await {
                        eprintln!("memmon-ebpf: the observer stopped: {error}");
                    }
                });
            })
            .map_err(StartError::Thread)?;
        let snapshots = started
            .recv()
            .unwrap_or_else(|_| Err(StartError::Thread(io::Error::other("it ended at once"))))?;
        Ok(Self {
            snapshots,
            requests,
            thread: Some(thread),
        })
    }

    /// A snapshot with everything in it that had happened when this was called.
    pub async fn snapshot(&self, filter: Filter) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { filter, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Detaches and waits until that is done.
    pub fn stop(mut self) {
        let (requests, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.requests, requests));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A process that is observed.
struct Watched {
    pid: u32,
    start_ticks: Option<u64>,
    uses: Vec<(Use, u64)>,
    /// It held nothing when it was first looked at: what it has is seen from its start.
    fresh: bool,
}

#[expect(missing_debug_implementations, reason = "holds the kernel side")]
pub struct Observer {
    options: Options,
    runtimes: Runtimes,
    kernel: Kernel,
    rings: Rings,
    watch: MappingWatch,
    libraries: Libraries,
    tables: Tables,
    processes: HashMap<Proc, Watched>,
    next_proc: Proc,
    /// Live-map entries that dead processes and ended generations left.
    stale_live: u64,
    strange_records: u64,
    lost_notices: u64,
    last_lost_control: u64,
}

/// Numbers of processes that userspace found; the kernel's own count from 1.
const FOUND_BY_US: Proc = 1 << 63;

impl Observer {
    fn new(options: Options, runtimes: Runtimes) -> Result<Self, StartError> {
        let features = Features::detect(options.assume_kernel.as_deref())?;
        let narrowed = !options.filter.pids.is_empty() || options.descendants_only;
        let defaults = Settings::default();
        let settings = Settings {
            narrowed,
            inherit_scope: options.descendants_only,
            spaces: runtimes.count(),
            history_bytes: options.history_bytes.unwrap_or(defaults.history_bytes),
            live_entries: options.live_entries.unwrap_or(defaults.live_entries),
        };
        let (mut kernel, rings) = Kernel::load(&features, &settings)?;
        for pid in &options.filter.pids {
            kernel.add_to_scope(*pid)?;
        }
        if options.descendants_only {
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
        let tables = Tables::new(host_name(), observer, runtimes.facts());
        let mut observer = Self {
            options,
            runtimes,
            kernel,
            rings,
            watch,
            libraries: Libraries::default(),
            tables,
            processes: HashMap::new(),
            next_proc: FOUND_BY_US,
            stale_live: 0,
            strange_records: 0,
            lost_notices: 0,
            last_lost_control: 0,
        };
        observer.scan();
        observer.collect();
        Ok(observer)
    }

    async fn run(
        &mut self,
        mut inbox: mpsc::Receiver<Request>,
        snapshots: watch::Sender<Arc<Snapshot>>,
        refresh: Duration,
    ) -> io::Result<()> {
        let control = readable(self.rings.control_fd())?;
        let history = readable(self.rings.history_fd())?;
        let mappings = readable(self.watch.as_raw_fd())?;
        let mut refresh = tokio::time::interval(refresh);
        let mut drain = tokio::time::interval(DRAIN_EVERY);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        for timer in [&mut refresh, &mut drain, &mut sweep] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        loop {
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
                _ = drain.tick() => {
                    self.drain_history();
                }
                _ = sweep.tick() => self.sweep(),
                _ = refresh.tick() => {
                    // Nobody looks: nothing to draw up.
                    if snapshots.receiver_count() > 0 {
                        let snapshot = self.snapshot();
                        snapshots.send_replace(Arc::new(snapshot));
                    }
                }
                request = inbox.recv() => {
                    let Some(Request { filter, reply }) = request else {
                        return Ok(());
                    };
                    self.collect();
                    let _ = reply.send(filter.apply(self.tables.snapshot(clock::now())));
                }
            }
        }
    }

    /// A snapshot of now, in the observation's own scope.
    fn snapshot(&mut self) -> Snapshot {
        self.collect();
        let snapshot = self.tables.snapshot(clock::now());
        self.options.filter.apply(snapshot)
    }

    /// Takes in everything that has happened.
    fn collect(&mut self) {
        self.drain_mappings();
        self.drain_control();
        self.drain_history();
        self.read_rows();
        self.tables.libraries(self.libraries.rows(&self.runtimes));
        self.tables.health(self.health());
    }

    fn read_rows(&mut self) {
        let rows = self.kernel.rows();
        // Generations are read too: a `FreeAll` whose record was lost heals here.
        for (key, value) in self.kernel.owners() {
            self.tables.generation(owner_id(&key), value.ogen);
        }
        for value in self.kernel.processes().values() {
            if value.flags & proc_flag::INEXACT != 0 {
                self.tables.inexact(value.proc);
            }
        }
        self.tables.rows(rows);
    }

    fn health(&self) -> Health {
        let counters = self.kernel.counters();
        let mut notes = Vec::new();
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                notes.push(format!("{count} {text}"));
            }
        };
        note(
            counters.get(Counter::LiveFull),
            "allocations were not remembered: more are live than fit (--live-entries); their rows are inexact",
        );
        note(
            counters.get(Counter::TableFull),
            "events found a full table; numbers may be too low",
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
        Health {
            events: counters.get(Counter::Events),
            lost_events: counters.get(Counter::LostHistory) + counters.get(Counter::LostControl),
            failed_reads: counters.get(Counter::FailedReads),
            unknown_frees: counters.get(Counter::UnknownFrees),
            inexact_rows: 0,
            inherited_frees: counters.get(Counter::InheritedFrees),
            notes,
        }
    }

    fn scan(&mut self) {
        let found = scan::processes(|name| self.runtimes.wants(name));
        // All of them before the first probe is placed: it is hit in every one.
        for (pid, _) in &found {
            if self.in_scope(*pid) {
                self.number(*pid);
            }
        }
        for (pid, libraries) in found {
            self.examine(pid, &libraries);
        }
    }

    fn drain_mappings(&mut self) {
        let mut lost = false;
        let mut pids = Vec::new();
        for notice in self.watch.take() {
            match notice {
                Notice::Mapped { pid, file_name } => {
                    if self.runtimes.wants(&file_name) && !pids.contains(&pid) {
                        pids.push(pid);
                    }
                }
                Notice::Lost => lost = true,
            }
        }
        for pid in pids {
            self.look_at(pid);
        }
        if lost {
            self.lost_notices += 1;
            self.scan();
        }
    }

    fn look_at(&mut self, pid: u32) {
        let Ok(regions) = maps::of_process(pid) else {
            return;
        };
        let libraries = scan::libraries(&regions, |name| self.runtimes.wants(name));
        if !libraries.is_empty() {
            self.examine(pid, &libraries);
        }
    }

    fn in_scope(&self, pid: u32) -> bool {
        if pid == std::process::id() {
            return false;
        }
        let Options {
            filter,
            descendants_only,
            ..
        } = &self.options;
        if *descendants_only {
            self.kernel.is_in_scope(pid)
        } else {
            filter.takes_pid(pid)
        }
    }

    /// A process maps runtime libraries: attaches where they are new, and finds out what it holds.
    fn examine(&mut self, pid: u32, libraries: &[Mapped]) {
        if !self.in_scope(pid) {
            return;
        }
        let Some(value) = self.number(pid) else {
            return;
        };
        let mut uses = Vec::new();
        for mapped in libraries {
            let found = self
                .libraries
                .meet(&self.runtimes, Some(&mut self.kernel), pid, mapped);
            uses.extend(found.into_iter().map(|found| (found, mapped.base)));
        }
        let proc = value.proc;
        let known = self
            .processes
            .get(&proc)
            .map_or(0, |known| known.uses.len());
        self.acquaint(proc, pid, None);
        self.tables.understood(proc, !uses.is_empty());
        if uses.len() <= known {
            return;
        }
        let recovered = if value.flags & proc_flag::FORKED == 0 {
            self.recover(pid, value, &uses)
        } else {
            Ok(true)
        };
        self.set_flag(pid, proc, proc_flag::RECOVERING, false);
        if let Some(watched) = self.processes.get_mut(&proc) {
            watched.uses = uses;
            watched.fresh = recovered == Ok(true);
        }
        if recovered == Ok(false) {
            self.tables.since(proc, Since::Recovered);
        }
    }

    /// The ledger's number of a process, given now where it has none: frees in it leave a trace
    /// until what it holds has been read.
    fn number(&mut self, pid: u32) -> Option<ProcValue> {
        if let Some(value) = self.kernel.process(pid) {
            return Some(value);
        }
        self.next_proc += 1;
        self.kernel.add_process(
            pid,
            ProcValue {
                proc: self.next_proc,
                first_seen_ns: clock::boot_ns(),
                flags: proc_flag::RECOVERING,
                reserved: 0,
            },
        )
    }

    fn acquaint(&mut self, proc: Proc, pid: u32, comm: Option<&[u8; 16]>) {
        if self.processes.contains_key(&proc) {
            // It may have another name by now.
            return;
        }
        let facts = match identity::Identity::read(pid) {
            Ok(identity) => process_facts(&identity),
            Err(_) => ProcessFacts {
                pid,
                comm: comm.map(|comm| text(comm)).unwrap_or_default(),
                ..ProcessFacts::default()
            },
        };
        self.processes.insert(
            proc,
            Watched {
                pid,
                start_ticks: identity::start_ticks(pid),
                uses: Vec::new(),
                fresh: false,
            },
        );
        self.tables.process(proc, facts);
    }

    /// Reads what the process holds; `Ok(true)` where that is nothing.
    fn recover(&mut self, pid: u32, value: ProcValue, uses: &[(Use, u64)]) -> Result<bool, String> {
        let before: HashMap<OwnerKey, u32> = self
            .kernel
            .owners()
            .into_iter()
            .filter(|(key, _)| key.proc == value.proc)
            .map(|(key, owner)| (key, owner.ogen))
            .collect();
        // From here on frees leave a trace, so that what is freed behind the walk's back is not
        // counted.
        self.set_flag(pid, value.proc, proc_flag::RECOVERING, true);
        let mut nothing = true;
        let mut result = Ok(());
        for (using, base) in uses {
            let Some(model) = &using.model else {
                continue;
            };
            match recover::recover_own(model.as_ref(), pid, *base) {
                Ok(found) => {
                    nothing &= found.owners.is_empty();
                    self.take_in(value.proc, using.space, &before, &found);
                }
                Err(error) => result = Err(error),
            }
        }
        result.map(|()| nothing)
    }

    fn take_in(
        &mut self,
        proc: Proc,
        space: u32,
        before: &HashMap<OwnerKey, u32>,
        found: &Recovered,
    ) {
        let generation = |owner: u64| {
            let key = OwnerKey {
                proc,
                owner,
                space,
                reserved: 0,
            };
            before.get(&key).copied().unwrap_or(0)
        };
        for owner in &found.owners {
            let id = OwnerId {
                proc,
                space,
                owner: owner.owner,
            };
            let ogen = generation(owner.owner);
            self.kernel.add_owner(
                OwnerKey {
                    proc,
                    owner: owner.owner,
                    space,
                    reserved: 0,
                },
                ogen,
                owner.device,
                owner.aux,
            );
            self.tables.placement(id, ogen, owner.placement.clone());
            self.tables.baseline(
                row_key(proc, space, owner.owner, owner.pool, ogen),
                Baseline::default(),
            );
        }
        let mut sums: HashMap<RowKey, Baseline> = HashMap::new();
        for allocation in &found.allocations {
            let ogen = generation(allocation.owner);
            let key = LiveKey {
                proc,
                key: allocation.key,
                space,
                reserved: 0,
            };
            let added = self.kernel.add_live(
                key,
                LiveValue {
                    owner: allocation.owner,
                    requested: allocation.requested,
                    charged: allocation.charged,
                    address: allocation.address,
                    pool: allocation.pool,
                    ogen,
                    flags: live_flag::RECOVERED,
                    ..LiveValue::default()
                },
            );
            if added {
                let sum = sums
                    .entry(row_key(
                        proc,
                        space,
                        allocation.owner,
                        allocation.pool,
                        ogen,
                    ))
                    .or_default();
                sum.requested += allocation.requested as i64;
                sum.charged += allocation.charged as i64;
                sum.live += 1;
            }
        }
        for (key, sum) in sums {
            self.tables.baseline(key, sum);
        }
    }

    fn set_flag(&mut self, pid: u32, proc: Proc, flag: u32, on: bool) {
        if let Some(mut value) = self.kernel.process(pid)
            && value.proc == proc
        {
            value.flags = if on {
                value.flags | flag
            } else {
                value.flags & !flag
            };
            self.kernel.set_process(pid, value);
        }
    }

    fn drain_control(&mut self) {
        let mut records: Vec<Control> = Vec::new();
        self.strange_records +=
            drain::take(&mut self.rings.control, |record| records.push(*record));
        let mut ended = Vec::new();
        for record in &records {
            self.control(record, &mut ended);
        }
        if !ended.is_empty() {
            self.finish(&ended);
        }
    }

    fn control(&mut self, record: &Control, ended: &mut Vec<Proc>) {
        let header = &record.header;
        let proc = header.proc;
        let owner = OwnerId {
            proc,
            space: record.space,
            owner: record.owner,
        };
        let is = |kind: ControlKind| header.kind == kind as u32;
        if is(ControlKind::ProcSeen) {
            self.acquaint(proc, header.tgid, Some(&record.comm));
            if record.flags & proc_flag::FORKED != 0
                && let Some(watched) = self.processes.get_mut(&proc)
            {
                watched.fresh = true;
            }
            self.look_at(header.tgid);
        } else if is(ControlKind::OwnerOpen) {
            self.tables.owner_opened(owner, record.ogen);
            if self.processes.get(&proc).is_some_and(|known| known.fresh) {
                self.tables.since(proc, Since::Start);
            }
        } else if is(ControlKind::OwnerSeen) {
            self.place(record, owner);
        } else if is(ControlKind::FreeAll) {
            self.tables.freed_all(owner, record.ogen);
        } else if is(ControlKind::Exit) {
            if record.flags & proc_flag::INEXACT != 0 {
                self.tables.inexact(proc);
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
    fn place(&mut self, record: &Control, owner: OwnerId) {
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
                recover::owners(using.model.as_deref()?, watched.pid, *base, &hint).ok()
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
            self.tables.placement(id, ogen, found.placement);
        }
    }

    /// Processes that are gone: their last totals are read, then the kernel forgets them.
    fn finish(&mut self, ended: &[Proc]) {
        self.read_rows();
        let now = clock::boot_ns();
        for (key, value) in self.kernel.rows() {
            if ended.contains(&key.proc) {
                self.stale_live += value.live.unsigned_abs();
                self.kernel.remove_row(&key);
            }
        }
        for (key, _) in self.kernel.owners() {
            if ended.contains(&key.proc) {
                self.kernel.remove_owner(&key);
            }
        }
        for proc in ended {
            self.tables.exited(*proc, now);
            if let Some(watched) = self.processes.remove(proc) {
                self.libraries.process_gone(watched.pid);
            }
        }
        if self.stale_live > STALE_LIVE {
            self.sweep_live();
        }
    }

    fn sweep_live(&mut self) {
        let stale: Vec<LiveKey> = self
            .kernel
            .live()
            .filter(|(key, _)| !self.processes.contains_key(&key.proc))
            .map(|(key, _)| key)
            .collect();
        for key in stale {
            self.kernel.remove_live(&key);
        }
        self.stale_live = 0;
    }

    fn drain_history(&mut self) {
        let mut failures: Vec<History> = Vec::new();
        self.strange_records += drain::take(&mut self.rings.history, |record: &History| {
            if record.header.kind == HistoryKind::Failed as u32 {
                failures.push(*record);
            }
        });
        for record in &failures {
            self.tables.failure(record, clock::now());
        }
    }

    /// Whatever no event told.
    fn sweep(&mut self) {
        let lost = self.kernel.counters().get(Counter::LostControl);
        if lost > self.last_lost_control {
            self.last_lost_control = lost;
            let known = self.kernel.processes();
            for (pid, value) in known {
                self.acquaint(value.proc, pid, None);
            }
            self.scan();
        }
        let gone: Vec<Proc> = self
            .processes
            .iter()
            .filter(|(_, watched)| {
                !identity::is_running(watched.pid)
                    || identity::start_ticks(watched.pid) != watched.start_ticks
            })
            .map(|(proc, _)| *proc)
            .collect();
        if !gone.is_empty() {
            for proc in &gone {
                if let Some(pid) = self.processes.get(proc).map(|watched| watched.pid)
                    && self
                        .kernel
                        .process(pid)
                        .is_some_and(|value| value.proc == *proc)
                {
                    self.kernel.remove_process(pid);
                }
            }
            self.finish(&gone);
        }
        self.tables.expire(clock::boot_ns());
        if self.stale_live > 0 {
            self.sweep_live();
        }
    }
}

fn row_key(proc: Proc, space: u32, owner: u64, pool: u32, ogen: u32) -> RowKey {
    RowKey {
        proc,
        owner,
        space,
        pool,
        ogen,
        reserved: 0,
    }
}

fn owner_id(key: &OwnerKey) -> OwnerId {
    OwnerId {
        proc: key.proc,
        space: key.space,
        owner: key.owner,
    }
}

pub(super) fn process_facts(identity: &identity::Identity) -> ProcessFacts {
    ProcessFacts {
        pid: identity.pid,
        start_time: identity.start_time_ns().and_then(clock::rfc3339),
        comm: identity.comm.clone(),
        command: identity.command.clone(),
        uid: identity.uid,
        user: identity.user.clone(),
        cgroup: identity.cgroup.clone(),
    }
}

pub(super) fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default()
}

fn text(comm: &[u8; 16]) -> String {
    let end = comm
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

/// Watches a descriptor of its own that stands for the same thing.
fn readable(fd: RawFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the observer, which owns it, calls this and lives longer than the borrow.
    let owned = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    // SAFETY: an owned descriptor stays open, and the same, until the `AsyncFd` drops it.
    unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) }.map_err(io::Error::from)
}
