//! Processes that ended: they are shown for a while, as long as there are not too many.

use super::{Tables, facts::Proc};

/// How long a process that ended is still shown.
pub const EXITED_SHOWN_NS: u64 = 60_000_000_000;
/// How many that ended are shown: where more end within that time, those that still held something
/// before others, and of those the latest.
pub const EXITED_SHOWN: usize = 4096;

/// Who is to be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    pub procs: Vec<Proc>,
    /// How many of them would be shown for longer, were there not so many.
    pub early: u64,
}

/// What a process that ended left, in the order of what can be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    /// It never had anything, and is not shown.
    NoTrace,
    Nothing,
    Memory,
}

impl Tables {
    /// The process is gone; its rows stay as they are for a while.
    pub fn exited(&mut self, proc: Proc, now_ns: u64) {
        if let Some(entry) = self.processes.get_mut(&proc) {
            entry.exited_ns.get_or_insert(now_ns);
        }
    }

    /// Processes that ended long enough ago to forget; and where more ended since than are shown,
    /// those of them that have least to show, the oldest first.
    pub fn expired(&self, now_ns: u64) -> Expired {
        let mut ended: Vec<(u64, Proc)> = self
            .processes
            .iter()
            .filter_map(|(proc, entry)| Some((entry.exited_ns?, *proc)))
            .collect();
        ended.sort_unstable();
        let old = ended.partition_point(|(at, _)| now_ns.saturating_sub(*at) > EXITED_SHOWN_NS);
        let mut procs: Vec<Proc> = ended.drain(..old).map(|(_, proc)| proc).collect();
        let too_many = ended.len().saturating_sub(EXITED_SHOWN);
        let mut early = 0;
        if too_many > 0 {
            let mut ended: Vec<_> = ended
                .into_iter()
                .map(|(at, proc)| (self.left(proc), at, proc))
                .collect();
            ended.sort_unstable();
            ended.truncate(too_many);
            let shown = ended.iter().filter(|(left, ..)| *left != Left::NoTrace);
            early = shown.count() as u64;
            procs.extend(ended.into_iter().map(|(_, _, proc)| proc));
        }
        Expired { procs, early }
    }

    fn left(&self, proc: Proc) -> Left {
        let mut left = match self.processes.get(&proc) {
            Some(entry) if !entry.inexact && entry.understood != Some(false) => Left::NoTrace,
            _ => Left::Nothing,
        };
        for key in self.rows_of(proc) {
            if self.held_in(&key) != (0, 0) {
                return Left::Memory;
            }
            if self.row_with_baseline(&key).amounts(false).ever_held() {
                left = Left::Nothing;
            }
        }
        left
    }
}
