//! The BPF object, loaded: its programs, its maps, its links.

use std::{
    collections::{BTreeMap, HashMap as StdHashMap},
    io,
};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::{
        ProgramError, TracePoint, UProbe,
        trace_point::TracePointLink,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope},
    },
};
use memmon_ebpf::{
    ledger::{
        Counter, LiveKey, LiveValue, OwnerKey, OwnerValue, PendingKey, PendingValue, ProcValue,
        RowKey, RowValue,
    },
    spec::{MAX_SPECS, ProbeSpec},
};

use super::{
    closing::Closing, features::Features, messages, rings::Rings, table::Table, wire::Wire,
};

/// Sizes and scope, fixed when the programs are loaded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Only pids given to [`Kernel::add_to_scope`].
    pub narrowed: bool,
    /// Children of a pid in scope come into it.
    pub inherit_scope: bool,
    /// Probes at functions' returns will be placed, as far as one can tell.
    pub returns: bool,
    /// Bytes of the history ring; a power of two, at least a page.
    pub history_bytes: u32,
    /// Live allocations that can be remembered.
    pub live_entries: u32,
    /// Maps of another size than usual, by name: what happens when one is full can be tried.
    pub map_entries: Vec<(String, u32)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            narrowed: false,
            inherit_scope: false,
            returns: false,
            history_bytes: 8 << 20,
            live_entries: 1 << 20,
            map_entries: Vec::new(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("cannot load the BPF programs")]
    Load(#[source] Box<aya::EbpfError>),
    #[error("the kernel refuses the BPF program `{name}`")]
    Program {
        name: &'static str,
        #[source]
        source: Box<ProgramError>,
    },
    #[error("the BPF object lacks `{0}`: it was not built from this source")]
    Missing(&'static str),
    #[error("BPF map {name}")]
    Map {
        name: &'static str,
        #[source]
        source: Box<aya::maps::MapError>,
    },
    #[error(
        "return probes are not placed on Linux {0}: from 6.11 to 6.13 they make a system call of their own, \
         for which a seccomp filter may end the process; use Linux 6.14 or later"
    )]
    HarmfulReturnProbes(String),
    #[error("too many probes at one time ({MAX_SPECS} at the most)")]
    TooManyProbes,
}

impl KernelError {
    /// Whether rights are what is missing.
    pub fn is_permission(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
            }
            source = error.source();
        }
        false
    }
}

type Result<T> = std::result::Result<T, KernelError>;

/// One point: an offset in a file, and which spec runs there.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub file_offset: u64,
    /// How many bytes after the function's entry that is, 0 as a rule: further on costs less where the kernel would
    /// have to step through the instruction at the entry, and the probe sees the same.
    pub moved: u64,
    /// The kernel steps through the instruction there, which makes a hit 14 to 30 times as dear.
    pub single_stepped: bool,
    pub spec: ProbeSpec,
    /// At the return of the function.
    pub at_return: bool,
}

/// All of one file's probes.
#[derive(Debug)]
pub struct Attachment {
    number: u32,
}

struct Links {
    links: Vec<(&'static str, UProbeLinkId)>,
    specs: Vec<u32>,
}

/// What `COUNTERS` says, summed over CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Counter::SLOTS as usize]);

impl Counters {
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }
}

#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Kernel {
    ebpf: Ebpf,
    entry: &'static str,
    at_return: &'static str,
    returns_loaded: bool,
    /// The kernel's release, where return probes may harm those that they are hit in.
    harmful_returns: Option<String>,
    specs: Array<MapData, Wire<ProbeSpec>>,
    free_specs: Vec<u32>,
    next_spec: u32,
    attached: BTreeMap<u32, Links>,
    closing: Closing,
    next_attachment: u32,
    lifecycle: StdHashMap<&'static str, TracePointLink>,
    scope: HashMap<MapData, u32, u32>,
    /// By pid.
    pub procs: Table<u32, ProcValue>,
    pub owners: Table<OwnerKey, OwnerValue>,
    pub live: Table<LiveKey, LiveValue>,
    pub pending: Table<PendingKey, PendingValue>,
    pub rows: Table<RowKey, RowValue>,
    counters: PerCpuArray<MapData, u64>,
    tells_ends: bool,
}

static OBJECT: &[u8] = include_bytes_aligned!("../../../memmon-ebpf/object/memmon.bpf.o");

const LIFECYCLE: [(&str, &str); 3] = [
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
    ("process_fork", "sched_process_fork"),
];

impl Kernel {
    /// Loads the programs and starts to follow the lives of processes. No probe is placed yet.
    pub fn load(features: &Features, settings: &Settings) -> Result<(Self, Rings)> {
        let own_pid = std::process::id();
        let narrowed = u32::from(settings.narrowed);
        let inherit = u32::from(settings.inherit_scope);
        let group_dead = features.tracepoints.exit_group_dead.unwrap_or(0);
        let wake_at = settings.history_bytes / 4;
        let exec_old_pid = features.tracepoints.exec_old_pid.unwrap_or(0);
        let log_level = messages::wanted();
        let mut loader = EbpfLoader::new();
        loader
            .override_global("OWN_PID", &own_pid, true)
            .override_global("NARROWED", &narrowed, true)
            .override_global("INHERIT_SCOPE", &inherit, true)
            .override_global("EXIT_GROUP_DEAD_AT", &group_dead, true)
            .override_global("FORK_CHILD_AT", &features.tracepoints.fork_child, true)
            .override_global("EXEC_OLD_PID_AT", &exec_old_pid, true)
            .override_global("WAKE_AT", &wake_at, true)
            .override_global(messages::LEVEL, &log_level, true)
            .map_max_entries("HISTORY", settings.history_bytes)
            .map_max_entries("LIVE", settings.live_entries);
        for (name, entries) in &settings.map_entries {
            loader.map_max_entries(name, *entries);
        }
        let mut ebpf = loader
            .load(OBJECT)
            .map_err(|error| KernelError::Load(Box::new(error)))?;
        let (entry, at_return) = if features.uprobe_multi {
            ("probe_multi", "probe_return_multi")
        } else {
            ("probe_single", "probe_return_single")
        };
        let mut lifecycle = StdHashMap::new();
        for (name, event) in LIFECYCLE {
            let program: &mut TracePoint = program(&mut ebpf, name)?;
            let failed = |source| KernelError::Program {
                name,
                source: Box::new(source),
            };
            program.load().map_err(failed)?;
            let id = program.attach("sched", event).map_err(failed)?;
            lifecycle.insert(name, program.take_link(id).map_err(failed)?);
        }
        let harmful_returns = features
            .release
            .has_harmful_returns()
            .then(|| features.release.text.clone());
        let returns_loaded = settings.returns && harmful_returns.is_none();
        match returns_loaded {
            true => load_both(&mut ebpf, [entry, at_return])?,
            false => load(&mut ebpf, entry)?,
        }
        let rings = Rings::take(&mut ebpf)?;
        let kernel = Self {
            specs: take(&mut ebpf, "SPECS")?,
            scope: take(&mut ebpf, "SCOPE")?,
            procs: table(&mut ebpf, "PROCS")?,
            owners: table(&mut ebpf, "OWNERS")?,
            live: table(&mut ebpf, "LIVE")?,
            pending: table(&mut ebpf, "PENDING")?,
            rows: table(&mut ebpf, "ROWS")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            free_specs: Vec::new(),
            next_spec: 0,
            attached: BTreeMap::new(),
            closing: Closing::default(),
            next_attachment: 0,
            lifecycle,
            tells_ends: group_dead != 0,
            ebpf,
            entry,
            at_return,
            returns_loaded,
            harmful_returns,
        };
        Ok((kernel, rings))
    }

    /// Places all of a file's probes, or none. `path` is opened by the kernel: `/proc/self/fd/N`
    /// names the very file that was looked at.
    pub fn attach(&mut self, path: &str, points: &[Point]) -> Result<Attachment> {
        let mut links = Links {
            links: Vec::new(),
            specs: Vec::new(),
        };
        let result = self.attach_into(path, points, &mut links);
        self.next_attachment += 1;
        let number = self.next_attachment;
        self.attached.insert(number, links);
        let attachment = Attachment { number };
        match result {
            Ok(()) => Ok(attachment),
            Err(error) => {
                self.detach(&attachment);
                Err(error)
            }
        }
    }

    fn attach_into(&mut self, path: &str, points: &[Point], attachment: &mut Links) -> Result<()> {
        let mut cookies = Vec::new();
        for point in points {
            let index = self.allocate_spec()?;
            attachment.specs.push(index);
            cookies.push(u64::from(index));
            self.specs
                .set(index, &Wire(point.spec), 0)
                .map_err(|source| map_error("SPECS", source))?;
        }
        if let Some(release) = &self.harmful_returns
            && points.iter().any(|point| point.at_return)
        {
            return Err(KernelError::HarmfulReturnProbes(release.clone()));
        }
        if points.iter().any(|point| point.at_return) && !self.returns_loaded {
            // To verify it takes as long as the other one, and many runtimes need none.
            load(&mut self.ebpf, self.at_return)?;
            self.returns_loaded = true;
        }
        for at_return in [false, true] {
            let chosen: Vec<UProbeAttachPoint<'_>> = points
                .iter()
                .zip(&cookies)
                .filter(|(point, _)| point.at_return == at_return)
                .map(|(point, cookie)| UProbeAttachPoint {
                    location: UProbeAttachLocation::AbsoluteOffset(point.file_offset),
                    cookie: Some(*cookie),
                })
                .collect();
            if chosen.is_empty() {
                continue;
            }
            let name = if at_return {
                self.at_return
            } else {
                self.entry
            };
            let program: &mut UProbe = program(&mut self.ebpf, name)?;
            let link = program
                .attach(chosen, path, UProbeScope::AllProcesses)
                .map_err(|source| KernelError::Program {
                    name,
                    source: Box::new(source),
                })?;
            attachment.links.push((name, link));
        }
        Ok(())
    }

    /// Takes the file's probes away, without waiting until they are gone.
    pub fn detach(&mut self, attachment: &Attachment) {
        if let Some(links) = self.attached.remove(&attachment.number) {
            self.close(links);
        }
    }

    /// Detaches everything, and waits until that is done.
    pub fn detach_all(&mut self) {
        let lifecycle = std::mem::take(&mut self.lifecycle);
        self.closing
            .begin(lifecycle.into_values().collect(), Vec::new());
        for links in std::mem::take(&mut self.attached).into_values() {
            self.close(links);
        }
        self.closing.finish();
    }

    fn close(&mut self, links: Links) {
        let Links { links, specs } = links;
        let mut taken = Vec::new();
        for (name, id) in links {
            if let Ok(program) = program::<UProbe>(&mut self.ebpf, name) {
                taken.extend(program.take_link(id).ok());
            }
        }
        self.closing.begin(taken, specs);
    }

    fn allocate_spec(&mut self) -> Result<u32> {
        self.free_specs.extend(self.closing.closed());
        if let Some(index) = self.free_specs.pop() {
            return Ok(index);
        }
        if self.next_spec >= MAX_SPECS {
            return Err(KernelError::TooManyProbes);
        }
        self.next_spec += 1;
        Ok(self.next_spec - 1)
    }

    /// Instructions that the verifier went through for the program that every probe runs, where the
    /// kernel says so (5.16).
    pub fn verified_instructions(&self) -> Option<u32> {
        self.ebpf
            .program(self.entry)?
            .info()
            .ok()?
            .verified_instruction_count()
    }

    /// Whether this kernel says when a whole process ends, and not just a thread of it.
    pub fn tells_ends(&self) -> bool {
        self.tells_ends
    }

    pub fn add_to_scope(&mut self, pid: u32) -> Result<()> {
        self.scope
            .insert(&pid, &1, 0)
            .map_err(|source| map_error("SCOPE", source))
    }

    pub fn is_in_scope(&self, pid: u32) -> bool {
        self.scope.get(&pid, 0).is_ok()
    }

    pub fn counters(&self) -> Counters {
        let mut sums = [0; Counter::SLOTS as usize];
        for (index, sum) in sums.iter_mut().enumerate() {
            if let Ok(values) = self.counters.get(&(index as u32), 0) {
                *sum = values.iter().sum();
            }
        }
        Counters(sums)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.detach_all();
    }
}

pub(super) fn map_error(name: &'static str, source: aya::maps::MapError) -> KernelError {
    KernelError::Map {
        name,
        source: Box::new(source),
    }
}

fn load(ebpf: &mut Ebpf, name: &'static str) -> Result<()> {
    let program: &mut UProbe = program(ebpf, name)?;
    program.load().map_err(|source| KernelError::Program {
        name,
        source: Box::new(source),
    })
}

/// To verify each takes long, and they can be verified side by side.
fn load_both(ebpf: &mut Ebpf, names: [&'static str; 2]) -> Result<()> {
    std::thread::scope(|scope| {
        let mut loading = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Some(name) = names.into_iter().find(|wanted| *wanted == name) else {
                continue;
            };
            loading.push(scope.spawn(move || {
                let failed = |source| KernelError::Program {
                    name,
                    source: Box::new(source),
                };
                let program: &mut UProbe = program.try_into().map_err(failed)?;
                program.load().map_err(failed)
            }));
        }
        if loading.len() < names.len() {
            return Err(KernelError::Missing("a program"));
        }
        loading.into_iter().try_for_each(|loading| {
            // It does nothing that could panic; if it did, so should this.
            loading
                .join()
                .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    })
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(KernelError::Missing(name))?
        .try_into()
        .map_err(|source| KernelError::Program {
            name,
            source: Box::new(source),
        })
}

pub(super) fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or(KernelError::Missing(name))?;
    T::try_from(map).map_err(|source| map_error(name, source))
}

fn table<K, V>(ebpf: &mut Ebpf, name: &'static str) -> Result<Table<K, V>>
where
    K: Copy + Default,
    V: Copy + Default,
    Wire<K>: aya::Pod,
    Wire<V>: aya::Pod,
{
    Table::take(ebpf, name)
        .ok_or(KernelError::Missing(name))?
        .map_err(|source| map_error(name, source))
}
