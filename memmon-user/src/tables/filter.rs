//! What of a snapshot a view wants.

use serde::{Deserialize, Serialize};

use super::snapshot::{Failure, Process, Snapshot, Usage};

/// Empty lists take everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub pids: Vec<u32>,
    pub devices: Vec<i64>,
    pub runtimes: Vec<String>,
}

impl Filter {
    pub fn takes_pid(&self, pid: u32) -> bool {
        self.pids.is_empty() || self.pids.contains(&pid)
    }

    pub fn takes_device(&self, device: Option<i64>) -> bool {
        self.devices.is_empty() || device.is_some_and(|id| self.devices.contains(&id))
    }

    pub fn takes_runtime(&self, runtime: &str) -> bool {
        self.runtimes.is_empty() || self.runtimes.iter().any(|name| name == runtime)
    }

    fn takes_usage(&self, row: &Usage) -> bool {
        self.takes_device(row.device) && self.takes_runtime(&row.runtime)
    }

    pub fn takes_failure(&self, failure: &Failure) -> bool {
        self.takes_pid(failure.pid)
            && self.takes_runtime(&failure.runtime)
            && (self.devices.is_empty() || failure.devices.iter().any(|id| self.takes_device(*id)))
    }

    /// As [`Self::apply`], where others want the snapshot, too: what is not wanted is not copied.
    pub fn part_of(&self, snapshot: &Snapshot) -> Snapshot {
        let processes = snapshot.processes.iter().filter(|it| self.wants(it));
        let failures = snapshot.failures.iter().filter(|it| self.takes_failure(it));
        let endings = snapshot.endings.iter().filter(|it| self.takes_pid(it.pid));
        self.apply(Snapshot {
            processes: processes.cloned().collect(),
            failures: failures.cloned().collect(),
            endings: endings.cloned().collect(),
            schema: snapshot.schema.clone(),
            taken_at: snapshot.taken_at.clone(),
            host: snapshot.host.clone(),
            observer: snapshot.observer.clone(),
            health: snapshot.health.clone(),
            libraries: snapshot.libraries.clone(),
            devices: snapshot.devices.clone(),
            notices: snapshot.notices.clone(),
        })
    }

    /// The part of the snapshot that is wanted.
    pub fn apply(&self, mut snapshot: Snapshot) -> Snapshot {
        snapshot
            .libraries
            .retain(|library| self.takes_runtime(&library.runtime));
        snapshot.devices.retain(|device| {
            self.takes_device(device.device) && self.takes_runtime(&device.runtime)
        });
        snapshot
            .failures
            .retain(|failure| self.takes_failure(failure));
        snapshot.endings.retain_mut(|ending| {
            ending.held.retain(|row| self.takes_usage(row));
            self.takes_pid(ending.pid) && !ending.held.is_empty()
        });
        snapshot.processes.retain_mut(|process| {
            let is_wanted = self.wants(process);
            let usage = process.usage.iter_mut().filter(|_| is_wanted);
            usage.for_each(|usage| usage.retain(|row| self.takes_usage(row)));
            is_wanted
        });
        snapshot.count_inexact_rows();
        snapshot
    }

    fn wants(&self, process: &Process) -> bool {
        if !self.takes_pid(process.pid) {
            return false;
        }
        let Some(usage) = &process.usage else {
            return true;
        };
        // Not where it holds memory, but none of what was asked for; or nothing on any device.
        usage.iter().any(|row| self.takes_usage(row))
            || (usage.is_empty() && self.devices.is_empty())
    }
}
