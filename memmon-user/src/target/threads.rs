//! What the threads of a process are doing, to tell one that goes on from one that stands still.

use std::{collections::BTreeMap, fs};

/// The threads of a process at one moment: by id, its state and the processor time it has had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threads(BTreeMap<u32, (char, u64)>);

/// As they are now; none where the process is gone.
pub fn of_process(pid: u32) -> Threads {
    let mut threads = BTreeMap::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let path = task.path();
        let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let (Ok(stat), Ok(times)) = (
            fs::read_to_string(path.join("stat")),
            fs::read_to_string(path.join("schedstat")),
        ) else {
            continue;
        };
        // After the name, which may hold anything.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        let ran = times
            .split_ascii_whitespace()
            .next()
            .and_then(|ns| ns.parse().ok());
        if let (Some(state), Some(ran)) = (state, ran) {
            threads.insert(tid, (state, ran));
        }
    }
    Threads(threads)
}

impl Threads {
    /// Whether one of them may stand in the middle of something: it is stopped or traced, or it
    /// wants to run (or waits for the disk) and has not since then. One that sleeps has come to
    /// where it waits.
    pub fn stand_still(&self, later: &Self) -> bool {
        later.0.iter().any(|(tid, (state, ran))| match state {
            'T' | 't' => true,
            'R' | 'D' => self.0.get(tid).is_some_and(|(_, before)| before == ran),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_still() {
        let threads = |all: &[(u32, char, u64)]| {
            Threads(
                all.iter()
                    .map(|(tid, state, ran)| (*tid, (*state, *ran)))
                    .collect(),
            )
        };
        let before = threads(&[(1, 'S', 10), (2, 'R', 20)]);
        assert!(!before.stand_still(&threads(&[(1, 'S', 10), (2, 'R', 21), (3, 'R', 0)])));
        assert!(before.stand_still(&threads(&[(1, 'S', 10), (2, 'R', 20)])));
        assert!(before.stand_still(&threads(&[(1, 't', 10)])));
        assert!(before.stand_still(&threads(&[(1, 'T', 11)])));
        // It has ended, or sleeps now.
        assert!(!before.stand_still(&threads(&[(2, 'S', 20)])));
    }

    #[test]
    fn our_own() {
        let own = of_process(std::process::id());
        assert!(!own.0.is_empty());
        assert_eq!(of_process(u32::MAX), Threads::default());
    }
}
