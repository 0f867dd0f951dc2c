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
        snapshot
            .processes
            .retain_mut(|process| self.narrow(process));
        snapshot.count_inexact_rows();
        snapshot
    }

    /// Leaves a process what is wanted of it; false where that is nothing.
    fn narrow(&self, process: &mut Process) -> bool {
        if !self.takes_pid(process.pid) {
            return false;
        }
        let Some(usage) = &mut process.usage else {
            return true;
        };
        let held = !usage.is_empty();
        usage.retain(|row| self.takes_usage(row));
        // It holds memory, but none of what was asked for; or nothing on any device.
        !usage.is_empty() || (!held && self.devices.is_empty())
    }
}
