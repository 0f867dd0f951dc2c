//! What the tables are told.

use std::collections::BTreeMap;

use memmon_ebpf::ledger::RowKey;
use serde::{Deserialize, Serialize};

/// A process as the ledger numbers it; never used again.
pub type Proc = u64;

/// A runtime, as the tables need to know it. Its index is the `space` of its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFacts {
    pub name: String,
    pub pools: BTreeMap<u32, PoolFacts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFacts {
    pub name: String,
    /// False where bytes overlap or are not taken from the device: no charged bytes are shown.
    pub charged: bool,
}

/// What `/proc` said about a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    pub pid: u32,
    pub start_time: Option<String>,
    pub comm: String,
    pub command: Vec<String>,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub cgroup: Option<String>,
}

/// How much of a process's past is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// Only what happened since memmon attached.
    #[default]
    Attach,
    /// What came before was read from the process.
    Recovered,
    /// Its allocator was seen being made.
    Start,
}

impl Since {
    pub fn name(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Recovered => "recovered",
            Self::Start => "start",
        }
    }
}

/// Who holds memory inside a process: an allocator, a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OwnerId {
    pub proc: Proc,
    pub space: u32,
    pub owner: u64,
}

impl OwnerId {
    pub fn of(key: &RowKey) -> Self {
        Self {
            proc: key.proc,
            space: key.space,
            owner: key.owner,
        }
    }
}

/// Where an owner's memory lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// An allocation stands on every one of these.
    pub devices: Vec<DeviceFacts>,
    pub pools: BTreeMap<u32, PoolCapacity>,
}

impl Placement {
    /// Without what is only true at the moment it was read.
    pub fn lasting(mut self) -> Self {
        for capacity in self.pools.values_mut() {
            capacity.largest_free_per_bank = None;
        }
        self
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceFacts {
    pub id: Option<i64>,
    pub uid: Option<String>,
    pub name: Option<String>,
}

/// Of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCapacity {
    pub banks: u64,
    pub bytes: u64,
    pub largest_free_per_bank: Option<u64>,
    /// The first address of each bank.
    pub base: Option<u64>,
}

/// What a row holds beyond what the kernel has counted: what was there before memmon came, and
/// what an audit corrected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    pub requested: i64,
    pub charged: i64,
    pub live: i64,
    /// The corrections so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebase: Option<Rebase>,
    /// Allocations that there was no room to remember: their end will not be known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub doubts: u64,
    /// So many of `doubts` and of the row's [`memmon_ebpf::ledger::RowValue::inexact`] have been
    /// looked into, and put right.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgiven: u64,
}

/// What an audit made of a row that differed from the allocator's own numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebase {
    /// How often.
    pub times: u32,
    /// The most charged bytes that were known at the latest correction.
    pub peak: i64,
    /// The kernel's own peak then: one that is higher came later.
    pub kernel_peak: i64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Baseline {
    /// One more allocation.
    pub fn add(&mut self, requested: u64, charged: u64) {
        // Sizes are what the target says: they wrap around, as in the kernel.
        self.requested = self.requested.wrapping_add_unsigned(requested);
        self.charged = self.charged.wrapping_add_unsigned(charged);
        self.live = self.live.wrapping_add(1);
    }
}
