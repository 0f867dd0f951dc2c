//! Observes: finds libraries, attaches to them, drains what happens into the tables, and hands out
//! snapshots.

mod ahead;
mod audit;
mod census;
mod discovery;
mod endings;
mod events;
mod failed_allocations;
mod identities;
mod inspector;
mod journal;
mod keys;
mod libraries;
mod observation;
mod observer;
mod rates;
mod recovery;
#[cfg(test)]
mod recovery_tests;
mod runtimes;
mod sampler;
mod understanding;
mod walk;

pub use audit::AuditRequest;
pub use census::query;
pub use observation::{Observation, Request, StartError, follow};
pub use runtimes::Runtimes;

use std::{ffi::OsString, time::Duration};

use crate::tables::Filter;

/// What is observed, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub filter: Filter,
    /// The command that this process is going to start: its descendants are observed, and nothing else.
    pub command: Option<Vec<OsString>>,
    pub history_bytes: Option<u32>,
    pub live_entries: Option<u32>,
    /// BPF maps of another size than usual, by name.
    pub map_entries: Vec<(String, u32)>,
    /// How often the ledger is compared with the allocators' own numbers; never where there is none.
    pub audit: Option<Duration>,
    /// Place no probe: walk the processes at every refresh.
    pub sample: bool,
    /// Pretend to run on this kernel release.
    pub assume_kernel: Option<String>,
}

impl Options {
    /// The scope, in words.
    pub fn scope(&self) -> String {
        let Filter {
            pids,
            devices,
            runtimes,
        } = &self.filter;
        let mut words = Vec::new();
        if self.command.is_some() {
            words.push("command".to_owned());
        }
        for (name, list) in [
            (
                "pid",
                pids.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ),
            ("device", devices.iter().map(ToString::to_string).collect()),
            ("runtime", runtimes.clone()),
        ] {
            if !list.is_empty() {
                words.push(format!("{name} {}", list.join(",")));
            }
        }
        if words.is_empty() {
            "all".to_owned()
        } else {
            words.join(" ")
        }
    }
}
