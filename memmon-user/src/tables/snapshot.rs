//! What a view shows: the schema `memmon.snapshot/1`.
//!
//! Sizes are bytes, times RFC 3339. What is not known is `None` (`null`), never 0.

use serde::{Deserialize, Serialize};

/// The value of [`Snapshot::schema`].
pub const SCHEMA: &str = "memmon.snapshot/1";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub schema: String,
    pub taken_at: String,
    pub host: String,
    pub observer: Observer,
    pub health: Health,
    pub libraries: Vec<Library>,
    pub devices: Vec<Device>,
    pub processes: Vec<Process>,
    /// The latest allocations that failed, oldest first.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// The latest processes that ended holding memory, oldest first.
    #[serde(default)]
    pub endings: Vec<Ending>,
    /// What happened to the observation itself, oldest first.
    #[serde(default)]
    pub notices: Vec<Notice>,
}

impl Snapshot {
    pub fn count_inexact_rows(&mut self) {
        let rows = self
            .processes
            .iter()
            .filter_map(|process| process.usage.as_ref())
            .flatten();
        self.health.inexact_rows = rows.filter(|row| !row.exact).count() as u64;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observer {
    pub version: String,
    pub started_at: String,
    /// `all`, or what the observation was narrowed to.
    pub scope: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Allocations, frees and failures that were seen.
    pub events: u64,
    /// Events whose history was lost because the ring was full; totals are not affected.
    pub lost_events: u64,
    pub failed_reads: u64,
    /// Frees of something that was not known to be allocated.
    pub unknown_frees: u64,
    /// Frees that the runtime refused: what they named is still held.
    #[serde(default)]
    pub failed_frees: u64,
    /// Usage rows with `exact: false`.
    pub inexact_rows: u64,
    /// Frees, in a forked child, of what its parent allocated (these are harmless).
    pub inherited_frees: u64,
    /// What the reader should know, in words.
    pub notes: Vec<String>,
    /// The latest comparison with the allocators' own numbers; none where there was none yet.
    #[serde(default)]
    pub audit: Option<Box<Audit>>,
}

/// A comparison of the rows with the allocators' own state in the processes' memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When it ended.
    pub at: String,
    pub took_ns: u64,
    /// How many there were, this one included.
    pub audits: u64,
    pub processes: u64,
    /// Rows that were compared, those below included.
    pub rows: u64,
    /// Of these: the numbers were not the allocator's, and were corrected.
    pub differed: u64,
    /// Of these: it never held still for long enough to tell.
    pub unsettled: u64,
    /// Rows that differed, in all audits.
    pub differed_in_all: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    pub runtime: String,
    pub path: String,
    pub build_id: Option<String>,
    /// How its layout is known: `decoded`, `table`, `override`; none where it is not.
    pub layout: Option<String>,
    /// How many probes are placed.
    pub probes: usize,
    /// How many processes map it.
    pub processes: usize,
    /// Why it is not understood or not observed.
    pub problem: Option<String>,
    /// What is not known of it, although it is observed.
    #[serde(default)]
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub runtime: String,
    /// The runtime's own id of the physical device.
    pub device: Option<i64>,
    /// Serial or UUID: devices are summed by it where it is known.
    pub device_uid: Option<String>,
    pub name: Option<String>,
    pub pools: Vec<Pool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub pool: String,
    pub capacity_bytes: Option<u64>,
    pub charged_bytes: Option<u64>,
    pub peak_charged_bytes: Option<u64>,
    pub banks: Option<u64>,
    pub largest_free_bytes_per_bank: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub start_time: Option<String>,
    pub comm: String,
    pub command: Vec<String>,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub cgroup: Option<String>,
    /// `running` or `exited`.
    pub state: String,
    /// `start`, `attach` or `recovered`.
    pub since: String,
    /// None where its library is not understood.
    pub usage: Option<Vec<Usage>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub runtime: String,
    pub device: Option<i64>,
    pub device_uid: Option<String>,
    pub pool: String,
    pub requested_bytes: Option<u64>,
    pub charged_bytes: Option<u64>,
    /// Since memmon came.
    pub peak_charged_bytes: Option<u64>,
    pub live_allocations: Option<u64>,
    /// This, frees and failures: since memmon came; unknown where it only looked.
    pub allocations: Option<u64>,
    pub frees: Option<u64>,
    pub failed_allocations: Option<u64>,
    /// Whether every number of this row is known to be true.
    pub exact: bool,
    /// How often it differed from the allocator's own numbers and was corrected.
    #[serde(default)]
    pub rebased: u64,
    /// Bytes of this pool are not charged (they overlap, or are another's): there is no such number,
    /// where `charged_bytes` would else be one that is not known. Told only where it is so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncharged: bool,
}

/// An allocation that failed: an out-of-memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub at: String,
    pub pid: u32,
    pub tid: u32,
    pub comm: String,
    pub runtime: String,
    /// Every device that the allocation would have stood on.
    pub devices: Vec<Option<i64>>,
    pub pool: String,
    pub requested_bytes: u64,
    /// What the pool would have been charged.
    pub needed_bytes: Option<u64>,
    /// What the call returned, as a signed number; none where that is not known.
    #[serde(default)]
    pub error_code: Option<i64>,
    /// The function that failed; none where that is not known.
    #[serde(default)]
    pub api: Option<String>,
    /// Counts failures, from 1.
    #[serde(default)]
    pub number: u64,
    /// Of the pool, over all banks.
    #[serde(default)]
    pub capacity_bytes: Option<u64>,
    /// What was free in the pool, over all banks, as its allocator saw it.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// The largest free block of each bank.
    #[serde(default)]
    pub largest_free_bytes_per_bank: Option<u64>,
    #[serde(default)]
    pub banks: Option<u64>,
    /// Who held the pool's memory on the first of the devices, the largest first.
    #[serde(default)]
    pub holders: Vec<Holder>,
}

/// A process that holds memory of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub comm: String,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub charged_bytes: u64,
    pub live_allocations: Option<u64>,
}

/// A process that ended, and what it still held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub at: String,
    pub pid: u32,
    pub comm: String,
    pub user: Option<String>,
    /// Rows that hold something.
    pub held: Vec<Usage>,
}

/// Something that the reader of these numbers should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub at: String,
    pub kind: NoticeKind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A library is not understood: its processes' numbers are unknown.
    Library,
    /// History was lost; totals are not affected.
    #[default]
    Loss,
    /// Numbers may be wrong from here on, and are marked.
    Inexact,
    /// A row was not what the allocator says, and was corrected.
    Audit,
    /// The observation was interrupted: a daemon went away, a recording has a gap.
    Gap,
}
