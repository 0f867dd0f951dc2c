//! The observer's side: asks for audits, and writes down what they found.

use std::{collections::BTreeSet, time::Duration};

use memmon_ebpf::ledger::proc_flag;
use tokio::{sync::oneshot, time::Instant};

use super::{
    AuditRequest, ExaminedProcess, Finding, Outcome, Subject, Task,
    compare::{Correction, ExaminedRow, Sums, Verdict},
};
use crate::{
    attach::table::Added,
    clock,
    observe::{
        keys::{live_key, owner_key, recovered_value},
        observer::Observer,
    },
    tables::{
        Fact,
        audit::{self, AuditedRow, Numbers, Report},
        facts::{Baseline, Proc, Rebase, Since},
        live::{LiveEntry, LiveId},
        snapshot::{Audit, Notice, NoticeKind},
    },
};

/// Before an audit that completes a recovery, at first and at last.
const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(30);
/// Differences that are told one by one, of one audit.
const MOST_NOTICES: usize = 8;

/// When a process, of which not everything is known, is looked at again.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct Healing {
    pub next: Instant,
    pub pause: Duration,
}

impl Healing {
    pub fn soon() -> Self {
        Self {
            next: Instant::now() + SOON,
            pause: SOON,
        }
    }

    fn later(self) -> Self {
        let pause = (self.pause * 2).min(LATER);
        Self {
            next: Instant::now() + pause,
            pause,
        }
    }
}

/// What became of a correction.
struct Applied {
    /// Everything is remembered that is live.
    is_complete: bool,
}

impl Observer {
    /// All of them, now and then.
    pub(in crate::observe) fn audit_all(&mut self) {
        if self.auditor.running == 0 {
            self.begin_audit(&[], None);
        }
    }

    pub(in crate::observe) fn audit(&mut self, request: AuditRequest) {
        let AuditRequest { pids, reply } = request;
        self.begin_audit(&pids, Some(reply));
    }

    fn begin_audit(&mut self, pids: &[u32], reply: Option<oneshot::Sender<Report>>) {
        self.collect();
        let procs: Vec<Proc> = self
            .processes
            .iter()
            .filter(|(_, watched)| pids.is_empty() || pids.contains(&watched.pid))
            .map(|(proc, _)| *proc)
            .collect();
        let subjects = procs.iter().filter_map(|proc| self.subject(*proc));
        let task = Task {
            subjects: subjects.collect(),
            reply,
            healing: false,
        };
        self.auditor.begin(task);
    }

    /// The first moment at which a recovery is to be completed.
    pub(in crate::observe) fn next_healing(&self) -> Option<Instant> {
        if self.auditor.running > 0 {
            return None;
        }
        self.processes
            .values()
            .filter_map(|watched| watched.healing)
            .map(|healing| healing.next)
            .min()
    }

    /// Recoveries that are due to be completed.
    pub(in crate::observe) fn heal(&mut self) {
        self.collect();
        let now = Instant::now();
        let due: Vec<Proc> = self
            .processes
            .iter()
            .filter(|(_, watched)| watched.healing.is_some_and(|healing| healing.next <= now))
            .map(|(proc, _)| *proc)
            .collect();
        for proc in &due {
            if let Some(watched) = self.processes.get_mut(proc) {
                watched.healing = watched.healing.map(Healing::later);
            }
        }
        let subjects: Vec<Subject> = due.iter().filter_map(|proc| self.subject(*proc)).collect();
        if !subjects.is_empty() {
            self.auditor.begin(Task {
                subjects,
                reply: None,
                healing: true,
            });
        }
    }

    /// None where nothing of it can be read.
    fn subject(&self, proc: Proc) -> Option<Subject> {
        let watched = self.processes.get(&proc)?;
        watched.readable().next()?;
        let baselines = self
            .tables
            .rows_of(proc)
            .map(|key| (key, self.tables.baseline_of(&key)));
        Some(Subject {
            proc,
            pid: watched.pid,
            uses: watched.uses.clone(),
            baselines: baselines.collect(),
            unproven: self.is_unproven(proc),
        })
    }

    /// Whether there may be something of it that is not known, and can be.
    pub(in crate::observe) fn is_unproven(&self, proc: Proc) -> bool {
        let Some(watched) = self.processes.get(&proc) else {
            return false;
        };
        let is_new = watched.fresh || watched.forked;
        let misses = |space: &u32| !self.tables.knows_past_of(proc, *space);
        let misses_past = !is_new && watched.readable().any(|space| misses(&space));
        misses_past || (watched.is_readable() && self.tables.is_inexact(proc))
    }

    pub(in crate::observe) fn take_finding(&mut self, finding: Finding) {
        match finding {
            Finding::Trace { procs, done } => {
                for (proc, pid) in procs {
                    self.set_flag(pid, proc, proc_flag::RECOVERING, true);
                    if let Some(watched) = self.processes.get_mut(&proc) {
                        watched.traced = true;
                    }
                    // What is missed from here on is news.
                    self.set_flag(pid, proc, proc_flag::INEXACT, false);
                }
                let _ = done.send(());
            }
            Finding::Ended(outcome) => self.conclude(*outcome),
        }
    }

    fn conclude(&mut self, outcome: Outcome) {
        let Outcome {
            examined,
            traced,
            took,
            reply,
            skipped,
            healing,
        } = outcome;
        self.auditor.running = self.auditor.running.saturating_sub(1);
        // What ended meanwhile is gone; totals are as new as they can be.
        self.collect();
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut report = Report {
            schema: audit::SCHEMA.to_owned(),
            taken_at: clock::now(),
            took_ns,
            ..Report::default()
        };
        let mut left_out = skipped;
        for examined in &examined {
            if !self.processes.contains_key(&examined.subject.proc) {
                continue;
            }
            report.processes += 1;
            left_out += usize::from(examined.problem.is_some());
            self.conclude_process(examined, &mut report.rows);
        }
        report.left_out = left_out as u64;
        for (proc, pid) in traced {
            self.set_flag(pid, proc, proc_flag::RECOVERING, false);
        }
        self.tables.raise_peaks();
        self.tell_differences(&report);
        if !healing {
            self.note_audit(&report);
        }
        self.note_health();
        if let Some(reply) = reply {
            let _ = reply.send(report);
        }
    }

    fn conclude_process(&mut self, examined: &ExaminedProcess, rows: &mut Vec<AuditedRow>) {
        let proc = examined.subject.proc;
        let unproven = examined.subject.unproven;
        let mut is_clean = examined.is_clean();
        for allocator in &examined.allocators {
            if unproven && let Some(found) = &allocator.found {
                self.add_owners_as_of_now(proc, allocator.space, found);
                // Its device could not be read then: it is looked at again before anything is said to be exact.
                is_clean &= found
                    .owners
                    .iter()
                    .all(|owner| owner.device == 0 || !owner.placement.devices.is_empty());
            }
            for row in allocator.rows.values() {
                let mut audited = self.tables.audited_row(&row.key);
                audited.ledger = numbers(row.ledger);
                audited.allocator = row.own.map(numbers);
                audited.verdict = match &row.verdict {
                    Verdict::Agreed => audit::Verdict::Agreed,
                    Verdict::Held => audit::Verdict::Agreed,
                    Verdict::Mend(_) if row.own == Some(row.ledger) => audit::Verdict::Agreed,
                    // Nothing was claimed about it yet.
                    Verdict::Mend(_) if unproven => audit::Verdict::Agreed,
                    Verdict::Mend(_) => audit::Verdict::Differed,
                    _ => audit::Verdict::Unsettled,
                };
                if let Verdict::Mend(mend) = &row.verdict {
                    match self.mend(row, mend, unproven) {
                        Some(applied) => {
                            audited.rebased = row.own != Some(row.ledger);
                            is_clean &= applied.is_complete;
                        }
                        // It ended, or was changed, meanwhile.
                        None => {
                            audited.verdict = audit::Verdict::Unsettled;
                            is_clean = false;
                        }
                    }
                }
                rows.push(audited);
            }
        }
        if unproven && is_clean {
            self.prove(proc, examined.subject.pid);
        }
        let still = self.is_unproven(proc);
        if let Some(watched) = self.processes.get_mut(&proc) {
            watched.healing = match (still, watched.healing) {
                (false, _) => None,
                (true, None) => Some(Healing::soon()),
                (true, healing) => healing,
            };
        }
    }

    /// Everything of it is known from here on.
    fn prove(&mut self, proc: Proc, pid: u32) {
        let missed_again = self
            .kernel
            .procs
            .get(pid)
            .is_none_or(|value| value.proc != proc || value.flags & proc_flag::INEXACT != 0);
        if missed_again {
            return;
        }
        let Some(watched) = self.processes.get(&proc) else {
            return;
        };
        if !watched.is_readable() {
            // Of the others it is not known what they missed.
            for space in watched.readable().collect::<BTreeSet<u32>>() {
                self.tell(Fact::Recovered { proc, space });
            }
            return;
        }
        if self.tables.is_inexact(proc) {
            self.tell(Fact::Exact { proc });
        }
        if self.tables.process_since(proc) == Some(Since::Attach) {
            self.tell(Fact::Since {
                proc,
                since: Since::Recovered,
            });
        }
    }

    /// Makes a row what the allocator says. None where it has another past by now.
    fn mend(&mut self, row: &ExaminedRow, mend: &Correction, unproven: bool) -> Option<Applied> {
        let key = &row.key;
        let own = row.own?;
        let ogen = self
            .kernel
            .owners
            .get(owner_key(key.proc, key.space, key.owner))
            .map(|owner| owner.ogen);
        if ogen.unwrap_or(key.ogen) != key.ogen || self.tables.baseline_of(key) != row.baseline {
            return None;
        }
        let mut target = own;
        let gone = self.remove_ghosts(row, &mend.ghosts, &mut target);
        let (found, is_complete) = self.add_missing(row, mend, &mut target);
        let differs = own != row.ledger;
        let now = self.tables.row_with_baseline(key);
        let kernel = Sums::of_row(&row.row, &Baseline::default());
        let beyond = target.less(kernel);
        let before = row.baseline.rebase.unwrap_or_default();
        let rebase = Rebase {
            times: before.times + 1,
            peak: now.peak_charged().max(own.charged),
            kernel_peak: now.kernel.peak_charged,
        };
        // What there is no room for makes the row uncertain, if nothing has yet.
        let doubts = row.baseline.doubts + u64::from(!is_complete && !row.is_uncertain());
        let baseline = Baseline {
            requested: beyond.requested,
            charged: beyond.charged,
            live: beyond.live,
            rebase: if differs && !unproven {
                Some(rebase)
            } else {
                row.baseline.rebase
            },
            doubts,
            forgiven: if is_complete {
                row.row.inexact + doubts
            } else {
                row.baseline.forgiven
            },
        };
        if !gone.is_empty() {
            self.tell(Fact::Gone(gone));
        }
        if !found.is_empty() {
            self.tell(Fact::Live(found));
        }
        if baseline != row.baseline {
            self.tell(Fact::Baseline {
                key: *key,
                baseline,
            });
        }
        Some(Applied { is_complete })
    }

    /// What is remembered and not live. One whose end was told meanwhile has been taken off the
    /// row already.
    fn remove_ghosts(
        &mut self,
        row: &ExaminedRow,
        ghosts: &[LiveEntry],
        target: &mut Sums,
    ) -> Vec<LiveId> {
        let mut gone = Vec::new();
        for ghost in ghosts {
            let key = live_key(row.key.proc, row.key.space, ghost.key);
            let now = self.kernel.live.get(key);
            let is_there =
                now.and_then(|value| LiveEntry::of(&key, &value)).as_ref() == Some(ghost);
            if is_there {
                self.kernel.live.remove(key);
                gone.push(ghost.id());
            } else {
                target.charged += ghost.charged.cast_signed();
                target.requested += ghost.requested.cast_signed();
                target.live += 1;
            }
        }
        gone
    }

    /// What is live and not remembered, and whether all of it is now. One that was freed meanwhile
    /// has left a trace.
    fn add_missing(
        &mut self,
        row: &ExaminedRow,
        mend: &Correction,
        target: &mut Sums,
    ) -> (Vec<LiveEntry>, bool) {
        let mut added = Vec::new();
        for allocation in &mend.missing {
            let key = live_key(row.key.proc, row.key.space, allocation.key);
            let value = recovered_value(allocation, row.key.ogen);
            match self.kernel.live.add(key, value) {
                Added::New => added.extend(LiveEntry::of(&key, &value)),
                Added::There => {
                    target.charged -= allocation.charged.cast_signed();
                    target.requested -= allocation.requested.cast_signed();
                    target.live -= 1;
                }
                // Its end will not be known.
                Added::Full => return (added, false),
            }
        }
        (added, true)
    }

    fn tell_differences(&mut self, report: &Report) {
        let differed: Vec<&AuditedRow> = report
            .rows
            .iter()
            .filter(|row| row.verdict == audit::Verdict::Differed)
            .collect();
        let mut texts: Vec<String> = differed
            .iter()
            .take(MOST_NOTICES)
            .map(|row| row.difference())
            .collect();
        if differed.len() > MOST_NOTICES {
            texts.push(format!(
                "{} more rows differed, and were corrected",
                differed.len() - MOST_NOTICES
            ));
        }
        for text in texts {
            self.tell(Fact::Notice(Notice {
                at: clock::now(),
                kind: NoticeKind::Audit,
                text,
            }));
        }
    }

    fn note_audit(&mut self, report: &Report) {
        let before = self.latest_audit.take().unwrap_or_default();
        let differed = report.count(audit::Verdict::Differed);
        self.latest_audit = Some(Box::new(Audit {
            at: report.taken_at.clone(),
            took_ns: report.took_ns,
            audits: before.audits + 1,
            processes: report.processes,
            rows: report.rows.len() as u64,
            differed,
            unsettled: report.count(audit::Verdict::Unsettled),
            differed_in_all: before.differed_in_all + differed,
        }));
    }
}

fn numbers(sums: Sums) -> Numbers {
    Numbers {
        charged_bytes: sums.charged,
        requested_bytes: sums.requested,
        live_allocations: sums.live,
    }
}
