//! The libraries that were met: identified, understood, attached; each file once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    sync::Arc,
    time::{Duration, Instant},
};

use log::info;

use super::{
    runtimes::{Known, Runtimes},
    understanding::{Understanding, Understandings},
};
use crate::{
    attach::{
        kernel::{Attachment, Kernel},
        plan,
    },
    clock,
    discover::{
        ahead::Found,
        scan::{FileId, Mapped},
    },
    elf,
    runtimes::resolver::Model,
    tables::snapshot,
    target::{
        maps::{self, fd_path},
        memory::{Memory as _, ProcessMemory},
    },
    text::visible,
};

/// A library in use by one runtime.
#[derive(Clone)]
pub struct Use {
    pub space: u32,
    pub model: Option<Arc<dyn Model>>,
    /// When its probes were in place, nanoseconds since boot.
    pub attached_ns: u64,
    /// They were there before the process began: all that it does with the library is seen.
    pub in_time: bool,
}

/// A library that nobody has mapped for so long is let go of: as long as its probes are there, the kernel keeps its
/// file, and the file system that it lies in, from going away. Until then they are there for the very first
/// allocation of whoever maps it next.
const KEPT: Duration = Duration::from_secs(600);
/// The same for a file that was deleted: nobody can map it anew, unless by having it open.
const KEPT_DELETED: Duration = Duration::from_secs(3);

/// A library file.
struct Entry {
    path: String,
    build_id: Option<String>,
    /// What tells a file seen through another mount: inode, size, modification time.
    stamp: (u64, u64, i64),
    runtimes: Vec<Outcome>,
    /// The same file, met before through another mount.
    alias_of: Option<usize>,
    processes: BTreeSet<u32>,
    /// The file, to see whether it was deleted; none where it is not attached to.
    file: Option<File>,
    /// When the last process that mapped it went.
    unused_since: Option<Instant>,
    /// It was attached to before any process began that is observed.
    ahead: bool,
    /// Somebody has mapped it.
    used: bool,
}

/// What became of the file for one runtime.
struct Outcome {
    understanding: Understanding,
    attachment: Option<Attachment>,
    attached_ns: u64,
    problem: Option<String>,
}

#[derive(Default)]
pub struct Libraries {
    entries: BTreeMap<usize, Entry>,
    next: usize,
    by_file: BTreeMap<FileId, usize>,
    understandings: Understandings,
}

impl Libraries {
    /// None was met yet; of some it is understood already what is in them.
    pub fn with(understandings: Understandings) -> Self {
        Self {
            understandings,
            ..Self::default()
        }
    }

    /// Notes that a process maps the library, attaching to it where it is new; returns the
    /// runtimes that understood it. Without a kernel nothing is attached. None where the process
    /// ended, or became another program, before its file could be opened: that says nothing about
    /// the file.
    pub fn meet(
        &mut self,
        runtimes: &Runtimes,
        kernel: Option<&mut Kernel>,
        pid: u32,
        mapped: &Mapped,
    ) -> Option<Vec<Use>> {
        let index = match self.by_file.get(&mapped.file) {
            Some(index) => *index,
            None => {
                let file = mapped.region.open_file(pid);
                if file.is_err() && !still_maps(pid, mapped) {
                    return None;
                }
                let entry = self.entry(runtimes, kernel, Some(pid), mapped, file);
                entry.log(runtimes);
                self.insert(mapped.file, entry)
            }
        };
        let index = self.entries.get(&index)?.alias_of.unwrap_or(index);
        let entry = self.entries.get_mut(&index)?;
        entry.processes.insert(pid);
        entry.unused_since = None;
        if !entry.used && entry.ahead {
            entry.log(runtimes);
        }
        entry.used = true;
        let uses = entry
            .runtimes
            .iter()
            .filter(|outcome| outcome.problem.is_none())
            .map(|outcome| Use {
                space: outcome.understanding.known.space,
                model: outcome.understanding.model.clone(),
                attached_ns: outcome.attached_ns,
                in_time: entry.ahead,
            });
        Some(uses.collect())
    }

    /// Attaches to a file that a process may map which is still to begin. Where that cannot be done it is as if nobody
    /// had tried: it is met when it is mapped, if ever.
    pub fn meet_ahead(&mut self, runtimes: &Runtimes, kernel: &mut Kernel, found: Found) {
        let Ok(region) = maps::of_file(&found.file) else {
            return;
        };
        let mapped = Mapped {
            file: FileId {
                device: region.device,
                inode: region.inode,
            },
            base: region.start,
            region,
        };
        if self.by_file.contains_key(&mapped.file) {
            return;
        }
        let mut entry = self.entry(runtimes, Some(kernel), None, &mapped, Ok(found.file));
        if entry.is_attached() {
            entry.ahead = true;
            entry.unused_since = Some(Instant::now());
            self.insert(mapped.file, entry);
        }
    }

    /// The runtimes of a file that was attached to before anybody began who is observed; none of any other.
    pub fn ahead(&self, file: &FileId) -> Option<Vec<u32>> {
        let index = self.by_file.get(file)?;
        let entry = self.entries.get(index)?;
        let index = entry.alias_of.unwrap_or(*index);
        let entry = self.entries.get(&index).filter(|entry| entry.ahead)?;
        let outcomes = entry.runtimes.iter();
        let understood = outcomes.filter(|outcome| outcome.problem.is_none());
        let spaces = understood.map(|outcome| outcome.understanding.known.space);
        Some(spaces.collect())
    }

    /// A process mapped it that is gone by now.
    pub fn was_used(&mut self, file: &FileId) {
        let entry = self.by_file.get(file).copied();
        if let Some(entry) = entry.and_then(|index| self.entries.get_mut(&index)) {
            entry.used = true;
        }
    }

    fn insert(&mut self, file: FileId, entry: Entry) -> usize {
        self.next += 1;
        self.entries.insert(self.next, entry);
        self.by_file.insert(file, self.next);
        self.next
    }

    /// `pid` maps it, if anybody does.
    fn entry(
        &mut self,
        runtimes: &Runtimes,
        kernel: Option<&mut Kernel>,
        pid: Option<u32>,
        mapped: &Mapped,
        file: io::Result<File>,
    ) -> Entry {
        let mut entry = Entry {
            path: mapped.region.path.clone(),
            build_id: None,
            stamp: (0, 0, 0),
            runtimes: Vec::new(),
            alias_of: None,
            processes: BTreeSet::new(),
            file: None,
            unused_since: None,
            ahead: false,
            used: false,
        };
        let names = runtimes.of(mapped.region.file_name(), None);
        match file {
            Ok(file) => {
                self.look_into(runtimes, kernel, pid, mapped, &file, &mut entry);
                entry.file = entry.is_attached().then_some(file);
            }
            Err(error) => entry.fail(&names, format!("its file cannot be opened: {error}")),
        }
        entry
    }

    fn look_into(
        &mut self,
        runtimes: &Runtimes,
        kernel: Option<&mut Kernel>,
        pid: Option<u32>,
        mapped: &Mapped,
        file: &File,
        entry: &mut Entry,
    ) {
        if let Ok(meta) = file.metadata() {
            entry.stamp = (meta.ino(), meta.size(), meta.mtime());
        }
        let name = mapped.region.file_name();
        let library = match elf::Library::open(file) {
            Ok(library) => library,
            Err(error) => {
                return entry.fail(
                    &runtimes.of(name, None),
                    format!("its file cannot be read: {error}"),
                );
            }
        };
        entry.build_id = library.build_id();
        if kernel.is_some()
            && let Some(index) = self.like(entry)
        {
            match pid {
                Some(pid) if self.is_covered(index, pid, mapped) == Some(true) => {
                    entry.alias_of = Some(index);
                    return;
                }
                Some(_) => {}
                // There is nobody to judge.
                None => return,
            }
        }
        let understood =
            self.understandings
                .of(runtimes, name, entry.build_id.as_deref(), &library, file);
        entry.runtimes = understood.into_iter().map(Outcome::from).collect();
        let Some(kernel) = kernel else {
            return;
        };
        let path = fd_path(file);
        for outcome in &mut entry.runtimes {
            if outcome.problem.is_some() {
                continue;
            }
            match kernel.attach(&path.to_string_lossy(), &outcome.understanding.points) {
                Ok(attachment) => {
                    outcome.attachment = Some(attachment);
                    outcome.attached_ns = clock::boot_ns();
                }
                Err(error) => {
                    let error = anyhow::Error::new(error).context("its probes cannot be placed");
                    outcome.problem = Some(format!("{error:#}"));
                }
            }
        }
    }

    /// A file may be reached through several mounts (containers of one overlay image): probes land
    /// on one inode, and attaching again would count everything twice. This one looks the same.
    fn like(&self, entry: &Entry) -> Option<usize> {
        let (index, _) = self.entries.iter().find(|(_, known)| {
            known.alias_of.is_none()
                && known.stamp == entry.stamp
                && known.build_id == entry.build_id
                && known.is_attached()
        })?;
        Some(*index)
    }

    /// The judge is the process itself: where its code already holds our breakpoints, it is covered.
    fn is_covered(&self, index: usize, pid: u32, mapped: &Mapped) -> Option<bool> {
        let known = self.entries.get(&index)?;
        let memory = ProcessMemory::open(pid).ok()?;
        let point = known
            .runtimes
            .iter()
            .flat_map(|outcome| &outcome.understanding.points)
            .find(|point| point.file_offset >= mapped.region.offset)?;
        let address = mapped.region.start + (point.file_offset - mapped.region.offset);
        let mut byte = [0];
        memory.read(address, &mut byte).ok()?;
        const BREAKPOINT: u8 = 0xcc;
        Some(byte[0] == BREAKPOINT)
    }

    /// The process is gone. Files stay attached for some time: see [`KEPT`].
    pub fn process_gone(&mut self, pid: u32) {
        for entry in self.entries.values_mut() {
            if entry.processes.remove(&pid) && entry.processes.is_empty() {
                entry.unused_since = Some(Instant::now());
            }
        }
    }

    /// Detaches from what nobody has mapped for long. Whoever maps it again is a new acquaintance.
    pub fn let_go(&mut self, kernel: &mut Kernel) {
        let idle: Vec<usize> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_idle())
            .map(|(index, _)| *index)
            .collect();
        for index in idle {
            let Some(entry) = self.entries.remove(&index) else {
                continue;
            };
            info!("{}: unused, let go of", visible(&entry.path));
            for attachment in entry
                .runtimes
                .iter()
                .filter_map(|outcome| outcome.attachment.as_ref())
            {
                kernel.detach(attachment);
            }
            // And what it was met as elsewhere.
            self.entries
                .retain(|_, other| other.alias_of != Some(index));
        }
        self.by_file
            .retain(|_, index| self.entries.contains_key(index));
    }

    pub fn rows(&self, runtimes: &Runtimes) -> Vec<snapshot::Library> {
        self.entries
            .values()
            // What was attached to in case somebody maps it says nothing, until somebody does.
            .filter(|entry| entry.used)
            .flat_map(|entry| {
                entry.runtimes.iter().map(|outcome| {
                    let Understanding {
                        known,
                        basis,
                        model,
                        points,
                        ..
                    } = &outcome.understanding;
                    let placed = outcome.attachment.as_ref();
                    snapshot::Library {
                        runtime: runtimes.name(known.space).to_owned(),
                        path: entry.path.clone(),
                        build_id: entry.build_id.clone(),
                        layout: basis.map(str::to_owned),
                        probes: placed.map_or(0, |_| points.len()),
                        processes: entry.processes.len(),
                        problem: outcome.problem.clone(),
                        notes: model
                            .as_ref()
                            .map(|model| model.notes())
                            .into_iter()
                            .flatten()
                            .chain(placed.and_then(|_| plan::note(points)))
                            .collect(),
                    }
                })
            })
            .collect()
    }
}

impl Entry {
    /// What became of it, for who asks to be told (`--log info`).
    fn log(&self, runtimes: &Runtimes) {
        for outcome in &self.runtimes {
            let Understanding { known, points, .. } = &outcome.understanding;
            let (path, runtime) = (visible(&self.path), runtimes.name(known.space));
            match &outcome.problem {
                Some(problem) => info!("{path} ({runtime}): {}", visible(problem)),
                None => info!("{path} ({runtime}): {} probes", points.len()),
            }
        }
    }

    fn fail(&mut self, runtimes: &[Known], problem: String) {
        self.runtimes.extend(
            runtimes
                .iter()
                .map(|known| Outcome::from(Understanding::failed(*known, problem.clone()))),
        );
    }

    fn is_attached(&self) -> bool {
        self.runtimes
            .iter()
            .any(|outcome| outcome.attachment.is_some())
    }

    fn is_idle(&self) -> bool {
        let (Some(since), Some(file)) = (self.unused_since, &self.file) else {
            return false;
        };
        let is_deleted = || file.metadata().is_ok_and(|meta| meta.nlink() == 0);
        let unused = since.elapsed();
        // Whoever is still to begin is to find the probes there.
        (unused > KEPT && !self.ahead) || (unused > KEPT_DELETED && is_deleted())
    }
}

impl From<Understanding> for Outcome {
    fn from(understanding: Understanding) -> Self {
        Self {
            attachment: None,
            attached_ns: u64::MAX,
            problem: understanding.problem.clone(),
            understanding,
        }
    }
}

fn still_maps(pid: u32, mapped: &Mapped) -> bool {
    maps::of_process(pid).is_ok_and(|regions| regions.contains(&mapped.region))
}
