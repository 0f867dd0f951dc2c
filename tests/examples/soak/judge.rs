//! Compares what memmon says of a program that stands still with what the program's own allocator says.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use memmon::tables::snapshot::{Process, Snapshot};
use memmon_tests::raw::Connection;
use serde_json::json;

use crate::fixture_loads::Compared;

/// What became of one kind of load.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Programs that were started.
    pub programs: u64,
    /// Times that a program stood still and was compared.
    pub comparisons: u64,
    /// Numbers that were compared.
    pub numbers: u64,
    /// Of these comparisons, those with a row whose device memmon does not know.
    pub unplaced: u64,
    pub mismatches: u64,
    /// What failed other than a comparison.
    pub errors: u64,
}

#[derive(Debug)]
pub struct Judge {
    socket: PathBuf,
    scores: Mutex<BTreeMap<String, Score>>,
    complaints: Mutex<Vec<String>>,
}

impl Judge {
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            scores: Mutex::default(),
            complaints: Mutex::default(),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn scores(&self) -> BTreeMap<String, Score> {
        lock(&self.scores).clone()
    }

    pub fn complaints(&self) -> Vec<String> {
        lock(&self.complaints).clone()
    }

    pub fn started(&self, load: &str) {
        self.score(load, |score| score.programs += 1);
    }

    /// What was found, by one comparison: how many numbers agree, or what does not.
    pub fn compared(&self, load: &str, step: &str, result: Result<Compared>) {
        self.score(load, |score| {
            score.comparisons += 1;
            match result {
                Ok(compared) => {
                    score.numbers += compared.numbers;
                    score.unplaced += u64::from(compared.unplaced > 0);
                }
                Err(_) => score.mismatches += 1,
            }
        });
        if let Err(error) = result {
            self.complain(format!("MISMATCH: {load}: {step}: {error:#}"));
        }
    }

    /// Something else went wrong.
    pub fn failed(&self, load: &str, error: &anyhow::Error) {
        self.score(load, |score| score.errors += 1);
        self.complain(format!("ERROR: {load}: {error:#}"));
    }

    fn complain(&self, text: String) {
        eprintln!("{text}");
        lock(&self.complaints).push(text);
    }

    fn score(&self, load: &str, change: impl FnOnce(&mut Score)) {
        change(lock(&self.scores).entry(load.to_owned()).or_default());
    }

    /// What the daemon knows now, of these processes or of all.
    pub fn snapshot(&self, pids: &[u32]) -> Result<Snapshot> {
        let mut connection = Connection::open(&self.socket)?;
        let question = json!({"protocol": 1, "wish": "snapshot", "filter": {"pids": pids}});
        connection.send(question.to_string().as_bytes())?;
        let mut answer = connection.answer()?;
        ensure!(answer["error"].is_null(), "{}", answer["error"]);
        Ok(serde_json::from_value(answer["snapshot"].take())?)
    }

    /// A running process compared with what it has just said.
    pub fn running(
        &self,
        load: &str,
        step: &str,
        pid: u32,
        compare: impl FnOnce(&Process) -> Result<Compared>,
    ) {
        let result = self.snapshot(&[pid]).and_then(|snapshot| {
            let mut all = snapshot.processes.iter();
            match all.find(|process| process.pid == pid && process.state == "running") {
                Some(process) => compare(process),
                None => bail!("memmon knows no running process {pid}"),
            }
        });
        self.compared(load, step, result);
    }

    /// A process that has just ended compared with what it said last. memmon may take a moment to notice.
    pub fn ended(
        &self,
        load: &str,
        step: &str,
        pid: u32,
        compare: impl FnOnce(&Process) -> Result<Compared>,
    ) {
        const PATIENCE: Duration = Duration::from_secs(20);
        let until = Instant::now() + PATIENCE;
        let found = loop {
            match self.snapshot(&[pid]) {
                // Under a pid that is used again, the latest.
                Ok(snapshot) => {
                    let mut all = snapshot.processes.into_iter().rev();
                    if let Some(process) =
                        all.find(|process| process.pid == pid && process.state == "exited")
                    {
                        break Ok(process);
                    }
                }
                Err(error) => break Err(error),
            }
            if Instant::now() > until {
                break Err(anyhow::anyhow!("memmon has not noticed the end of {pid}"));
            }
            sleep(Duration::from_millis(20));
        };
        self.compared(load, step, found.and_then(|process| compare(&process)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
