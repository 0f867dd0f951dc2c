//! The ledger against the allocators' own state: a thread beside the observer walks the targets'
//! memory, and says where the two differ.
//!
//! A target is never stopped, so a comparison counts only where the row held still around the walk.
//! A difference is believed when a second look, a while later, finds the same one, nothing is just
//! being allocated, and no thread stands in the middle of a free. Until then frees leave a trace
//! (tombstones), so that what is put right is still right when it is written down.

mod apply;
mod compare;
mod examine;
mod moving;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use memmon_ebpf::ledger::{
    LiveKey, LiveValue, OwnerKey, OwnerValue, PendingKey, PendingValue, RowKey, RowValue,
};
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

use self::{compare::Verdict, examine::ExaminedAllocator};
use super::libraries::Use;
use crate::{
    attach::{batch::Reader, kernel::Kernel},
    rights,
    runtimes::resolver::Recovered,
    tables::{
        audit::Report,
        facts::{Baseline, Proc},
    },
    target::threads::{self, Threads},
};

/// Audits that may wait; more are refused.
const WAITING: usize = 4;
/// Between a difference and the look that confirms it: long enough for whatever was under way to
/// be over.
const PAUSE: Duration = Duration::from_millis(250);
/// What one audit of all processes may take, the pause not counted. Processes that are not reached
/// are left to the next one.
const ROUND: Duration = Duration::from_secs(10);
/// How long the observer may take to set traces.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question for an audit, and where the answer goes. A sender that is dropped means: not now.
#[derive(Debug)]
pub struct AuditRequest {
    /// All processes where there is none.
    pub pids: Vec<u32>,
    pub reply: oneshot::Sender<Report>,
}

/// A process that is to be compared.
pub(super) struct Subject {
    pub proc: Proc,
    pub pid: u32,
    pub uses: Vec<(Use, u64)>,
    /// What the tables add to its rows.
    pub baselines: HashMap<RowKey, Baseline>,
    /// Something of it may not be known at all: all its memory is looked through.
    pub unproven: bool,
}

/// What was found out about a process.
pub(super) struct ExaminedProcess {
    pub subject: Subject,
    pub allocators: Vec<ExaminedAllocator>,
    /// Why not all of it could be looked at.
    pub problem: Option<String>,
    threads: Threads,
}

/// What the thread tells the observer.
pub(super) enum Finding {
    /// Frees in these processes are to leave a trace from now on.
    Trace {
        procs: Vec<(Proc, u32)>,
        done: mpsc::Sender<()>,
    },
    Ended(Box<Outcome>),
}

pub(super) struct Outcome {
    pub examined: Vec<ExaminedProcess>,
    /// Those whose frees leave a trace.
    pub traced: Vec<(Proc, u32)>,
    pub took: Duration,
    pub reply: Option<oneshot::Sender<Report>>,
    /// Processes that time did not suffice for.
    pub skipped: usize,
    /// Only to complete a recovery: no audit of everything.
    pub healing: bool,
}

struct Task {
    subjects: Vec<Subject>,
    reply: Option<oneshot::Sender<Report>>,
    healing: bool,
}

/// The kernel's maps, read from another thread.
struct Readers {
    rows: Reader<RowKey, RowValue>,
    owners: Reader<OwnerKey, OwnerValue>,
    live: Reader<LiveKey, LiveValue>,
    pending: Reader<PendingKey, PendingValue>,
}

/// The thread, and what it found out.
pub(super) struct Auditor {
    jobs: mpsc::SyncSender<Task>,
    pub findings: tokio_mpsc::Receiver<Finding>,
    /// Audits that were asked for and have not ended.
    pub running: usize,
}

impl Auditor {
    /// `release` is the kernel's.
    pub fn start(kernel: &Kernel, release: (u32, u32)) -> io::Result<Self> {
        let readers = Readers {
            rows: kernel.rows.reader()?,
            owners: kernel.owners.reader()?,
            live: kernel.live.reader()?,
            pending: kernel.pending.reader()?,
        };
        let (jobs, inbox) = mpsc::sync_channel::<Task>(WAITING);
        let (found, findings) = tokio_mpsc::channel(1);
        thread::Builder::new()
            .name("auditor".to_owned())
            .spawn(move || {
                rights::or_end(rights::keep_for_auditing(release));
                for task in inbox {
                    let outcome = round(&readers, task, &found);
                    if found
                        .blocking_send(Finding::Ended(Box::new(outcome)))
                        .is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self {
            jobs,
            findings,
            running: 0,
        })
    }

    /// False where too many wait already.
    fn begin(&mut self, task: Task) -> bool {
        let is_begun = self.jobs.try_send(task).is_ok();
        self.running += usize::from(is_begun);
        is_begun
    }
}

fn round(readers: &Readers, task: Task, found: &tokio_mpsc::Sender<Finding>) -> Outcome {
    let Task {
        subjects,
        reply,
        healing,
    } = task;
    let started = Instant::now();
    let mut skipped = 0;
    let mut examined = Vec::new();
    for subject in subjects {
        if started.elapsed() > ROUND {
            skipped += 1;
            continue;
        }
        examined.push(examine::examine(readers, subject));
    }
    let mut took = started.elapsed();
    let suspects = |examined: &ExaminedProcess| examined.subject.unproven || examined.is_suspect();
    let procs: Vec<(Proc, u32)> = examined
        .iter()
        .filter(|examined| suspects(examined))
        .map(|examined| (examined.subject.proc, examined.subject.pid))
        .collect();
    if !procs.is_empty() && trace(found, &procs) {
        thread::sleep(PAUSE);
        let again = Instant::now();
        for examined in examined.iter_mut().filter(|examined| suspects(examined)) {
            examine::examine_again(readers, examined);
        }
        took += again.elapsed();
    }
    for process in &mut examined {
        for allocator in &mut process.allocators {
            allocator.give_up();
        }
    }
    Outcome {
        examined,
        traced: procs,
        took,
        reply,
        skipped,
        healing,
    }
}

/// Whether it was done.
fn trace(found: &tokio_mpsc::Sender<Finding>, procs: &[(Proc, u32)]) -> bool {
    let (done, wait) = mpsc::channel();
    let finding = Finding::Trace {
        procs: procs.to_vec(),
        done,
    };
    found.blocking_send(finding).is_ok() && wait.recv_timeout(PATIENCE).is_ok()
}

impl ExaminedProcess {
    /// Whether something of it has to be looked at again.
    fn is_suspect(&self) -> bool {
        self.allocators.iter().any(ExaminedAllocator::is_suspect)
    }

    /// Whether everything of it is known to be true, or is put right by what was found.
    pub fn is_clean(&self) -> bool {
        self.problem.is_none()
            && self.allocators.iter().all(|allocator| {
                allocator.problem.is_none()
                    && allocator
                        .rows
                        .values()
                        .all(|row| !matches!(row.verdict, Verdict::Moving | Verdict::Unsettled))
            })
    }

    fn is_frozen(&self) -> bool {
        self.threads
            .stand_still(&threads::of_process(self.subject.pid))
    }
}

/// What is found of an owner's allocator, shared by its rows.
pub(super) use apply::Healing;

pub(super) type Found = Arc<Recovered>;
