//! A command that is still to be started: its libraries are attached to before its first instruction, so that all that it
//! does is seen. What it and its children map is kept in mind until they are looked at: some end before that.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    ffi::OsString,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    thread,
};

use log::debug;
use memmon_ebpf::ledger::{RowKey, RowValue};

use super::{Runtimes, observer::Observer, understanding::Understandings};
use crate::{
    discover::{
        ahead::{self, Found},
        scan::FileId,
    },
    elf,
    rights::{self, RightsError},
    tables::{
        Fact,
        facts::{Proc, Since},
    },
    target::identity,
};

/// Processes whose mappings are kept in mind: of those that end, few have not been heard of yet.
const MOST_PROCESSES: usize = 4_096;
/// Files of one process.
const MOST_FILES: usize = 64;

/// Runtimes' libraries that processes have mapped, by the notices alone.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    of_process: HashMap<u32, Vec<(Option<FileId>, String)>>,
    /// The same processes, the oldest first.
    order: VecDeque<u32>,
}

impl Mappings {
    pub fn note(&mut self, pid: u32, file: Option<FileId>, name: String) {
        if !self.of_process.contains_key(&pid) {
            self.order.push_back(pid);
            if self.order.len() > MOST_PROCESSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.of_process.remove(&oldest);
            }
        }
        let files = self.of_process.entry(pid).or_default();
        if files.len() < MOST_FILES {
            files.push((file, name));
        }
    }

    /// What this process has mapped; none where that is not all known.
    fn of(&self, pid: u32) -> Option<Vec<(Option<FileId>, String)>> {
        let files = self.of_process.get(&pid)?;
        (files.len() < MOST_FILES).then(|| files.clone())
    }

    fn forget(&mut self, pid: u32) {
        if self.of_process.remove(&pid).is_some() {
            self.order.retain(|known| *known != pid);
        }
    }
}

/// What the command of these words may map. Where nothing is found, everything is attached to when it is mapped.
pub(super) fn find(words: &[OsString], runtimes: &Runtimes) -> Vec<Found> {
    thread::scope(|scope| {
        let finding = thread::Builder::new().name("finder".to_owned());
        let finding = finding.spawn_scoped(scope, || {
            // It reads what the command might, and nothing else.
            rights::as_what_is_executed()?;
            Ok::<_, RightsError>(ahead::find(words, &|name| runtimes.wants(name)))
        });
        let found = finding.ok().and_then(|finding| finding.join().ok());
        found.and_then(Result::ok).unwrap_or_default()
    })
}

/// Goes through the files while something else is done.
pub(super) fn understand_while<T>(
    found: &[Found],
    runtimes: &Runtimes,
    work: impl FnOnce() -> T,
) -> (Understandings, T) {
    if found.is_empty() {
        return (Understandings::default(), work());
    }
    thread::scope(|scope| {
        let reading = thread::Builder::new().name("reader".to_owned());
        let reading = reading.spawn_scoped(scope, || {
            // They are open already.
            rights::drop_all()?;
            Ok::<_, RightsError>(understand(found, runtimes))
        });
        let done = work();
        let understood = reading.ok().and_then(|reading| reading.join().ok());
        (understood.and_then(Result::ok).unwrap_or_default(), done)
    })
}

fn understand(found: &[Found], runtimes: &Runtimes) -> Understandings {
    let mut understandings = Understandings::default();
    for Found { path, file } in found {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Ok(library) = elf::Library::open(file) {
            let build_id = library.build_id();
            understandings.of(runtimes, &name, build_id.as_deref(), &library, file);
        }
    }
    understandings
}

impl Observer {
    /// The words of the command, where this is the process that was started by them: one that has ended has a command line
    /// no more.
    pub(super) fn started_as(&self, pid: u32, comm: &str) -> Option<Vec<String>> {
        let words = self.options.command.as_ref()?;
        let program = Path::new(words.first()?).file_name()?;
        let is_it = identity::parent(pid) == Some(std::process::id())
            && !comm.is_empty()
            && program.as_bytes().starts_with(comm.as_bytes());
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        is_it.then(|| words.iter().map(text).collect())
    }

    pub(super) fn attach_ahead(&mut self, found: Vec<Found>) {
        for found in found {
            debug!("{}: may be mapped", found.path.display());
            self.libraries
                .meet_ahead(&self.runtimes, &mut self.kernel, found);
        }
    }

    /// Processes that ended before anybody looked at them. What they mapped is known from the notices: where the probes
    /// were in all of it, everything was seen.
    pub(super) fn tell_of_unmet(&mut self, ended: &HashSet<Proc>, rows: &[(RowKey, RowValue)]) {
        if self.options.command.is_none() {
            return;
        }
        self.drain_mappings();
        for proc in ended {
            let Some(watched) = self.processes.get(proc) else {
                continue;
            };
            let (pid, is_met) = (watched.pid, !watched.uses.is_empty());
            // What it inherited has no notices.
            let is_forked = watched.forked;
            let mapped = self.mappings.of(pid);
            // What has become another program may have mapped that one before this is heard of.
            if !identity::is_running(pid) {
                self.mappings.forget(pid);
            }
            if is_met || is_forked || self.lost_notices > 0 {
                continue;
            }
            let mut seen = BTreeSet::new();
            let mut unseen = BTreeSet::new();
            for (file, name) in mapped.unwrap_or_default() {
                let known = file.and_then(|file| Some((file, self.libraries.ahead(&file)?)));
                match known {
                    Some((file, spaces)) => {
                        seen.extend(spaces);
                        self.libraries.was_used(&file);
                    }
                    None => {
                        let maybe = self.runtimes.of(&name, None);
                        unseen.extend(maybe.iter().map(|known| known.space));
                    }
                }
            }
            let mut used = rows.iter().filter(|(key, _)| key.proc == *proc);
            if used.all(|(key, _)| seen.contains(&key.space)) {
                self.tell(Fact::Since {
                    proc: *proc,
                    since: Since::Start,
                });
            }
            for space in unseen {
                self.tell(Fact::Unseen { proc: *proc, space });
            }
        }
    }
}
