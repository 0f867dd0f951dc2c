//! How the wire format's structures are written down outside of the kernel (`memmon-ebpf` itself
//! has no dependencies).

use memmon_ebpf::ledger::{RowKey, RowValue};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(remote = "RowKey")]
pub(super) struct RowKeyDef {
    proc: u64,
    owner: u64,
    space: u32,
    pool: u32,
    ogen: u32,
    #[serde(skip)]
    reserved: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RowValue")]
pub(super) struct RowValueDef {
    requested: i64,
    charged: i64,
    peak_charged: i64,
    live: i64,
    allocations: u64,
    frees: u64,
    failed: u64,
    failed_bytes: u64,
    inexact: u64,
    sequence: u64,
}
