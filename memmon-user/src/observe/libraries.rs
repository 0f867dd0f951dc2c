//! The libraries that were met: identified, understood, attached; each file once.

use std::{collections::BTreeMap, fs::File, io, os::unix::fs::MetadataExt as _, sync::Arc};

use log::info;

use super::{
    clock,
    runtimes::{Known, Runtimes},
};
use crate::{
    attach::{
        kernel::{Attachment, Kernel, Point},
        plan,
    },
    discover::scan::{FileId, Mapped},
    elf,
    runtimes::resolver::{Model, Understood},
    tables::snapshot,
    target::{
        maps::{self, fd_path},
        memory::{Memory as _, ProcessMemory},
    },
    views::text::visible,
};

/// A library in use by one runtime.
#[derive(Clone)]
pub struct Use {
    pub space: u32,
    pub model: Option<Arc<dyn Model>>,
    /// When its probes were in place, nanoseconds since boot.
    pub attached_ns: u64,
}

/// A library file.
struct Entry {
    path: String,
    build_id: Option<String>,
    /// What tells a file seen through another mount: inode, size, modification time.
    stamp: (u64, u64, i64),
    runtimes: Vec<Outcome>,
    /// The same file, met before through another mount.
    alias_of: Option<usize>,
    processes: Vec<u32>,
}

/// What became of the file for one runtime.
struct Outcome {
    known: Known,
    basis: Option<&'static str>,
    model: Option<Arc<dyn Model>>,
    points: Vec<Point>,
    attachment: Option<Attachment>,
    attached_ns: u64,
    problem: Option<String>,
}

#[derive(Default)]
pub struct Libraries {
    entries: Vec<Entry>,
    by_file: BTreeMap<FileId, usize>,
}

impl Libraries {
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
                let index = self.add(runtimes, kernel, pid, mapped, file);
                self.by_file.insert(mapped.file, index);
                index
            }
        };
        let index = self.entries[index].alias_of.unwrap_or(index);
        let entry = &mut self.entries[index];
        if !entry.processes.contains(&pid) {
            entry.processes.push(pid);
        }
        let uses = entry
            .runtimes
            .iter()
            .filter(|outcome| outcome.problem.is_none())
            .map(|outcome| Use {
                space: outcome.known.space,
                model: outcome.model.clone(),
                attached_ns: outcome.attached_ns,
            });
        Some(uses.collect())
    }

    fn add(
        &mut self,
        runtimes: &Runtimes,
        kernel: Option<&mut Kernel>,
        pid: u32,
        mapped: &Mapped,
        file: io::Result<File>,
    ) -> usize {
        let mut entry = Entry {
            path: mapped.region.path.clone(),
            build_id: None,
            stamp: (0, 0, 0),
            runtimes: Vec::new(),
            alias_of: None,
            processes: Vec::new(),
        };
        let names = runtimes.of(mapped.region.file_name(), None);
        match file {
            Ok(file) => self.look_into(runtimes, kernel, pid, mapped, &file, &mut entry),
            Err(error) => entry.fail(&names, format!("its file cannot be opened: {error}")),
        }
        entry.log(runtimes);
        self.entries.push(entry);
        self.entries.len() - 1
    }

    fn look_into(
        &self,
        runtimes: &Runtimes,
        kernel: Option<&mut Kernel>,
        pid: u32,
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
        for known in runtimes.of(name, entry.build_id.as_deref()) {
            entry.runtimes.push(understand(runtimes, known, &library));
        }
        let Some(kernel) = kernel else {
            return;
        };
        if let Some(index) = self.same_file(entry, pid, mapped) {
            entry.alias_of = Some(index);
            entry.runtimes.clear();
            return;
        }
        let path = fd_path(file);
        for outcome in &mut entry.runtimes {
            if outcome.problem.is_some() {
                continue;
            }
            match kernel.attach(&path.to_string_lossy(), &outcome.points) {
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
    /// on one inode, and attaching again would count everything twice. The judge is the process
    /// itself: where its code already holds our breakpoints, it is covered.
    fn same_file(&self, entry: &Entry, pid: u32, mapped: &Mapped) -> Option<usize> {
        let index = self.entries.iter().position(|known| {
            known.alias_of.is_none()
                && known.stamp == entry.stamp
                && known.build_id == entry.build_id
                && known
                    .runtimes
                    .iter()
                    .any(|outcome| outcome.attachment.is_some())
        })?;
        let memory = ProcessMemory::open(pid).ok()?;
        let point = self.entries[index]
            .runtimes
            .iter()
            .flat_map(|outcome| &outcome.points)
            .find(|point| point.file_offset >= mapped.region.offset)?;
        let address = mapped.region.start + (point.file_offset - mapped.region.offset);
        let mut byte = [0];
        memory.read(address, &mut byte).ok()?;
        const BREAKPOINT: u8 = 0xcc;
        (byte[0] == BREAKPOINT).then_some(index)
    }

    /// The process is gone. Files stay attached: they may be mapped again, and what is attached in
    /// advance is there for the very first allocation.
    pub fn process_gone(&mut self, pid: u32) {
        for entry in &mut self.entries {
            entry.processes.retain(|other| *other != pid);
        }
    }

    pub fn rows(&self, runtimes: &Runtimes) -> Vec<snapshot::Library> {
        self.entries
            .iter()
            .flat_map(|entry| {
                entry.runtimes.iter().map(|outcome| snapshot::Library {
                    runtime: runtimes.name(outcome.known.space).to_owned(),
                    path: entry.path.clone(),
                    build_id: entry.build_id.clone(),
                    layout: outcome.basis.map(str::to_owned),
                    probes: outcome
                        .attachment
                        .as_ref()
                        .map_or(0, |_| outcome.points.len()),
                    processes: entry.processes.len(),
                    problem: outcome.problem.clone(),
                    notes: outcome
                        .model
                        .as_ref()
                        .map(|model| model.notes())
                        .into_iter()
                        .flatten()
                        .chain(plan::note(&outcome.points))
                        .collect(),
                })
            })
            .collect()
    }
}

impl Entry {
    /// What became of it, for who asks to be told (`--log info`).
    fn log(&self, runtimes: &Runtimes) {
        for outcome in &self.runtimes {
            let (path, runtime) = (visible(&self.path), runtimes.name(outcome.known.space));
            match &outcome.problem {
                Some(problem) => info!("{path} ({runtime}): {}", visible(problem)),
                None => info!("{path} ({runtime}): {} probes", outcome.points.len()),
            }
        }
    }

    fn fail(&mut self, runtimes: &[Known], problem: String) {
        self.runtimes.extend(
            runtimes
                .iter()
                .map(|known| Outcome::failed(*known, problem.clone())),
        );
    }
}

impl Outcome {
    fn failed(known: Known, problem: String) -> Self {
        Self {
            known,
            basis: None,
            model: None,
            points: Vec::new(),
            attachment: None,
            attached_ns: u64::MAX,
            problem: Some(problem),
        }
    }
}

fn still_maps(pid: u32, mapped: &Mapped) -> bool {
    maps::of_process(pid).is_ok_and(|regions| regions.contains(&mapped.region))
}

fn understand(runtimes: &Runtimes, known: Known, library: &elf::Library) -> Outcome {
    let understood: Understood = match runtimes.understand(known, library) {
        Ok(understood) => understood,
        Err(problem) => return Outcome::failed(known, problem),
    };
    let points = runtimes
        .compile(known, &understood)
        .and_then(|probes| plan::points(library, &probes));
    match points {
        Ok(points) => Outcome {
            known,
            basis: Some(understood.basis),
            model: understood.model,
            points,
            attachment: None,
            attached_ns: u64::MAX,
            problem: None,
        },
        Err(problem) => Outcome::failed(known, problem),
    }
}
