//! What of the tables a view wants.

/// Empty lists take everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
}
