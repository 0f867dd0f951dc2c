//! A comparison of the ledger with the allocators' own numbers, row by row: the schema
//! `memmon.audit/1`.

use memmon_ebpf::ledger::RowKey;
use serde::{Deserialize, Serialize};

use super::{Tables, live::DeviceAsk};

/// The value of [`Report::schema`].
pub const SCHEMA: &str = "memmon.audit/1";

/// Every row, and whether it agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub taken_at: String,
    pub took_ns: u64,
    /// Processes that were looked at.
    pub processes: u64,
    /// Processes that there was no time for, or that cannot be looked into.
    pub left_out: u64,
    pub rows: Vec<AuditedRow>,
}

/// One pool of one allocator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedRow {
    pub pid: u32,
    pub comm: String,
    pub runtime: String,
    /// Every device that it stands on, with these bytes on each.
    pub devices: Vec<DeviceAsk>,
    pub pool: String,
    pub verdict: Verdict,
    pub ledger: Numbers,
    /// None where it was never seen holding still.
    pub allocator: Option<Numbers>,
    /// Whether the ledger has the allocator's numbers from now on.
    pub rebased: bool,
}

/// What the ledger, or the allocator, says. Below 0: what came before was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub charged_bytes: i64,
    pub requested_bytes: i64,
    pub live_allocations: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both say the same.
    Agreed,
    Differed,
    /// The process allocated all the while, or cannot be read: it is not known.
    #[default]
    Unsettled,
}

impl Report {
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .count() as u64
    }
}

impl AuditedRow {
    /// How the two differ, in words.
    pub fn difference(&self) -> String {
        let say = |numbers: &Numbers| {
            let Numbers {
                charged_bytes,
                requested_bytes,
                live_allocations,
            } = numbers;
            format!(
                "{charged_bytes} B charged, {requested_bytes} B requested, {live_allocations} live"
            )
        };
        let devices: Vec<String> = self
            .devices
            .iter()
            .map(|device| {
                device
                    .device
                    .map_or_else(|| "?".to_owned(), |id| id.to_string())
            })
            .collect();
        let allocator = self
            .allocator
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), say);
        let what = if self.rebased { "; corrected" } else { "" };
        format!(
            "pid {} {}, device {}, {}: the allocator says {allocator}; the ledger said {}{what}",
            self.pid,
            self.comm,
            devices.join(","),
            self.pool,
            say(&self.ledger),
        )
    }
}

impl Tables {
    /// A row's names; the numbers are the caller's.
    pub fn audited_row(&self, key: &RowKey) -> AuditedRow {
        let facts = self.facts_of(key.proc);
        let devices = self.devices_of(key);
        AuditedRow {
            pid: facts.map_or(0, |facts| facts.pid),
            comm: facts.map(|facts| facts.comm.clone()).unwrap_or_default(),
            runtime: self.runtime_name(key.space),
            devices: self.device_asks(key.space, &devices),
            pool: self.pool_name(key.space, key.pool),
            ..AuditedRow::default()
        }
    }
}
