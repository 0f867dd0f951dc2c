//! Processes that map a runtime's library: those there are, and those to come.

use std::collections::BTreeSet;

use memmon_ebpf::ledger::{Counter, ProcValue, proc_flag};

use super::{
    Options,
    audit::Healing,
    identities::{process_facts, text},
    libraries::Use,
    observer::{FOUND_BY_US, Observer, Watched},
    recovery::{Past, Recovery},
};
use crate::{
    attach::table::Added,
    clock,
    discover::{
        scan::{self, Mapped},
        watch::Notice,
    },
    tables::{
        Fact,
        facts::{Proc, ProcessFacts, Since},
    },
    target::{identity, maps},
};

impl Observer {
    pub(super) fn scan(&mut self) {
        let found = scan::processes(|name| self.runtimes.wants(name));
        // All of them before the first probe is placed: it is hit in every one.
        for (pid, _) in &found {
            if self.in_scope(*pid) {
                self.number(*pid);
            }
        }
        let late: Vec<Recovery> = found
            .iter()
            .filter_map(|(pid, libraries)| self.examine(*pid, libraries))
            .collect();
        self.recover(late);
    }

    pub(super) fn drain_mappings(&mut self) {
        let mut lost = false;
        let mut pids = Vec::new();
        for notice in self.watch.take() {
            match notice {
                Notice::Mapped {
                    pid,
                    file_name,
                    file,
                } => {
                    if !self.runtimes.wants(&file_name) {
                        continue;
                    }
                    if self.options.command.is_some() {
                        self.mappings.note(pid, file, file_name);
                    }
                    if !pids.contains(&pid) {
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

    pub(super) fn look_at(&mut self, pid: u32) {
        let Ok(regions) = maps::of_process(pid) else {
            return;
        };
        let libraries = scan::libraries(&regions, |name| self.runtimes.wants(name));
        if !libraries.is_empty() {
            let late = self.examine(pid, &libraries);
            self.recover(late.into_iter().collect());
        }
    }

    pub(super) fn in_scope(&self, pid: u32) -> bool {
        if pid == std::process::id() {
            return false;
        }
        let Options {
            filter, command, ..
        } = &self.options;
        if command.is_some() {
            self.kernel.is_in_scope(pid)
        } else {
            filter.takes_pid(pid)
        }
    }

    /// A process maps runtime libraries: attaches where they are new. What it holds already is to
    /// be read.
    #[must_use]
    pub(super) fn examine(&mut self, pid: u32, libraries: &[Mapped]) -> Option<Recovery> {
        if !self.in_scope(pid) {
            return None;
        }
        let attached = libraries
            .iter()
            .all(|mapped| self.libraries.ahead(&mapped.file).is_some());
        let flags = match attached {
            true => proc_flag::WHOLE,
            false => proc_flag::UNREAD,
        };
        let Some(value) = self.number_as(pid, flags) else {
            self.meet_uncounted(pid);
            return None;
        };
        if self.ignores(pid, value.proc) {
            return None;
        }
        let mut uses = self.meet(pid, libraries)?;
        let proc = value.proc;
        let present = uses
            .iter()
            .fold(0, |mask, (using, _)| mask | 1 << using.space);
        self.write_proc(pid, proc, |value| value.present |= present);
        let known = self
            .processes
            .get(&proc)
            .map_or(0, |known| known.uses.len());
        self.acquaint(proc, pid, None);
        self.tell(Fact::Understood {
            proc,
            understood: !uses.is_empty(),
        });
        if uses.len() <= known {
            return None;
        }
        let born = identity::started_ns(pid).unwrap_or_default();
        for (using, _) in &mut uses {
            using.in_time |= born > using.attached_ns;
        }
        let Some(past) = self.known_past(&value, &uses) else {
            return Some(self.begin_recovery(pid, value, uses));
        };
        self.recovered(
            &Recovery {
                pid,
                value,
                uses,
                ..Recovery::default()
            },
            past,
        );
        None
    }

    /// What is understood of these libraries. None where the process is gone, or another program by now, of which
    /// there will be a notice.
    fn meet(&mut self, pid: u32, libraries: &[Mapped]) -> Option<Vec<(Use, u64)>> {
        let mut uses = Vec::new();
        for mapped in libraries {
            let kernel = Some(&mut self.kernel);
            let found = self.libraries.meet(&self.runtimes, kernel, pid, mapped)?;
            uses.extend(found.into_iter().map(|using| (using, mapped.base)));
        }
        Some(uses)
    }

    /// What is known of a process's time before memmon without a look into its memory, and tells of it. None where it
    /// takes one.
    fn known_past(&mut self, value: &ProcValue, uses: &[(Use, u64)]) -> Option<Past> {
        if value.flags & proc_flag::FORKED != 0 {
            return Some(Past::Nothing);
        }
        let (seen, late): (Vec<&Use>, Vec<&Use>) = uses
            .iter()
            .map(|(using, _)| using)
            .partition(|using| using.in_time);
        let is_readable = late.iter().any(|using| using.model.is_some());
        if is_readable || seen.is_empty() {
            return None;
        }
        // The probes were there before it was.
        let late_spaces: BTreeSet<u32> = late.iter().map(|using| using.space).collect();
        let proc = value.proc;
        self.tell(Fact::Since {
            proc,
            since: Since::Start,
        });
        let past = match late_spaces.is_empty() {
            true => Past::Nothing,
            false => Past::Unknown,
        };
        for space in late_spaces {
            self.tell(Fact::Unseen { proc, space });
        }
        Some(past)
    }

    /// What came before is known now, or is known not to be.
    pub(super) fn recovered(&mut self, recovery: &Recovery, past: Past) {
        let Recovery {
            pid, value, uses, ..
        } = recovery;
        let proc = value.proc;
        let read = proc_flag::RECOVERING | proc_flag::UNREAD;
        self.set_flag(*pid, proc, read, false);
        if past == Past::Nothing && value.flags & proc_flag::FORKED == 0 {
            self.write_proc(*pid, proc, |value| value.flags |= proc_flag::WHOLE);
        }
        if let Some(watched) = self.processes.get_mut(&proc) {
            watched.uses.clone_from(uses);
            watched.fresh = past == Past::Nothing;
            watched.forked = value.flags & proc_flag::FORKED != 0;
        }
        let since = match past {
            Past::Recovered => Since::Recovered,
            // It was faster than we: its allocators were made before we looked, but the probes saw it.
            Past::Nothing if !self.opened(proc).is_empty() => Since::Start,
            Past::Unknown => {
                // It never held still. What is known of it is corrected, and completed, in time.
                if self.is_unproven(proc)
                    && let Some(watched) = self.processes.get_mut(&proc)
                {
                    watched.healing = Some(Healing::soon());
                }
                return;
            }
            Past::Nothing => return,
        };
        self.tell(Fact::Since { proc, since });
    }

    /// The ledger's number of a process, given now where it has none: frees of what is not known
    /// are nothing odd in it until what it holds has been read.
    pub(super) fn number(&mut self, pid: u32) -> Option<ProcValue> {
        self.number_as(pid, proc_flag::UNREAD)
    }

    fn number_as(&mut self, pid: u32, flags: u32) -> Option<ProcValue> {
        if let Some(value) = self.kernel.procs.get(pid) {
            return Some(value);
        }
        self.next_proc += 1;
        // Its first event may have been faster.
        let added = self.kernel.procs.add(
            pid,
            ProcValue {
                proc: self.next_proc,
                first_seen_ns: clock::boot_ns(),
                present: 0,
                flags,
                reserved: 0,
            },
        );
        self.not_stored += u64::from(added == Added::Full);
        self.kernel.procs.get(pid)
    }

    /// Whether it is memmon in another process (a client, say): what that allocates in order to
    /// look is not what is looked for.
    pub(super) fn ignores(&mut self, pid: u32, proc: Proc) -> bool {
        let own = identity::is_own_program(pid);
        if own {
            self.set_flag(pid, proc, proc_flag::IGNORED, true);
        }
        own
    }

    /// A process that the kernel has no room for: it is there, and nothing about it is known.
    fn meet_uncounted(&mut self, pid: u32) {
        let known = self.processes.values();
        if known.clone().any(|watched| watched.pid == pid) {
            return;
        }
        let proc = self.next_proc;
        self.acquaint(proc, pid, None);
        if let Some(watched) = self.processes.get_mut(&proc) {
            watched.uncounted = true;
        }
        self.tell(Fact::Understood {
            proc,
            understood: false,
        });
    }

    pub(super) fn acquaint(&mut self, proc: Proc, pid: u32, comm: Option<&[u8; 16]>) {
        if self.processes.contains_key(&proc) {
            // It may have another name by now.
            return;
        }
        let mut facts = match identity::Identity::read(pid) {
            Ok(identity) => process_facts(&identity),
            Err(_) => ProcessFacts {
                pid,
                comm: comm.map(text).unwrap_or_default(),
                ..ProcessFacts::default()
            },
        };
        if facts.command.is_empty() {
            facts.command = self.started_as(pid, &facts.comm).unwrap_or_default();
        }
        self.processes.insert(
            proc,
            Watched {
                pid,
                start_ticks: identity::start_ticks(pid),
                uses: Vec::new(),
                fresh: false,
                uncounted: false,
                forked: false,
                traced: proc >= FOUND_BY_US,
                healing: None,
            },
        );
        self.tell(Fact::Process {
            proc,
            facts: Box::new(facts),
        });
    }

    /// The kernel may set a flag of its own between our reading and writing: only where something
    /// could not be counted at that very moment, and then the process is taken for inexact.
    pub(super) fn set_flag(&mut self, pid: u32, proc: Proc, flag: u32, on: bool) {
        let before = self.kernel.counters();
        self.write_flag(pid, proc, flag, on);
        let now = self.kernel.counters();
        let odd = [
            Counter::LiveFull,
            Counter::LiveRefused,
            Counter::TableFull,
            Counter::FailedReads,
        ];
        if odd.iter().any(|odd| now.get(*odd) > before.get(*odd)) {
            self.tell(Fact::Inexact { proc });
        }
    }

    fn write_flag(&mut self, pid: u32, proc: Proc, flag: u32, on: bool) {
        self.write_proc(pid, proc, |value| {
            value.flags = if on {
                value.flags | flag
            } else {
                value.flags & !flag
            };
        });
    }

    fn write_proc(&mut self, pid: u32, proc: Proc, change: impl FnOnce(&mut ProcValue)) {
        if let Some(before) = self.kernel.procs.get(pid)
            && before.proc == proc
        {
            let mut value = before;
            change(&mut value);
            if value != before {
                self.kernel.procs.change(pid, value);
            }
        }
    }
}
