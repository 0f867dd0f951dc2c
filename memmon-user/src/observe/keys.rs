//! Keys and values of the ledger's maps, from what userspace knows.

use memmon_ebpf::ledger::{LiveKey, LiveValue, OwnerKey, RowKey, live_flag};

use crate::{
    runtimes::resolver::FoundAllocation,
    tables::facts::{OwnerId, Proc},
};

pub(super) fn owner_key(proc: Proc, space: u32, owner: u64) -> OwnerKey {
    OwnerKey {
        proc,
        owner,
        space,
        reserved: 0,
    }
}

pub(super) fn owner_id(key: &OwnerKey) -> OwnerId {
    OwnerId {
        proc: key.proc,
        space: key.space,
        owner: key.owner,
    }
}

pub(super) fn live_key(proc: Proc, space: u32, key: u64) -> LiveKey {
    LiveKey {
        proc,
        key,
        space,
        reserved: 0,
    }
}

pub(super) fn row_key(proc: Proc, space: u32, owner: u64, pool: u32, ogen: u32) -> RowKey {
    RowKey {
        proc,
        owner,
        space,
        pool,
        ogen,
        reserved: 0,
    }
}

/// An allocation that was read from the target, not seen being made.
pub(super) fn recovered_value(found: &FoundAllocation, ogen: u32) -> LiveValue {
    LiveValue {
        owner: found.owner,
        requested: found.requested,
        charged: found.charged,
        address: found.address,
        pool: found.pool,
        ogen,
        flags: live_flag::RECOVERED,
        ..LiveValue::default()
    }
}
