//! One allocation, free or failure, as it happened: the history.

use memmon_ebpf::{
    ledger::RowKey,
    record::{Header, History, HistoryKind},
};
use serde::{Deserialize, Serialize};

use super::{facts::Proc, remote::RowKeyDef};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    /// Nanoseconds since boot.
    pub time_ns: u64,
    pub proc: Proc,
    pub pid: u32,
    pub tid: u32,
    /// What the free will name: the buffer object, the pointer.
    pub key: u64,
    /// Whose totals it changed.
    #[serde(with = "RowKeyDef")]
    pub row: RowKey,
    /// The row's [`memmon_ebpf::ledger::RowValue::sequence`] after it (the lower half).
    pub sequence: u32,
    pub requested: u64,
    pub charged: u64,
    pub address: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Alloc,
    Free,
    Failed,
    UnknownFree,
    Register,
}

impl Event {
    /// None where the kind is not known.
    pub fn of(record: &History) -> Option<Self> {
        let History {
            header,
            key,
            owner,
            requested,
            charged,
            address,
            space,
            pool,
            ogen,
            sequence,
        } = *record;
        let Header {
            version: _,
            len: _,
            kind,
            time_ns,
            proc,
            tgid,
            tid,
        } = header;
        let kinds = [
            (HistoryKind::Alloc, EventKind::Alloc),
            (HistoryKind::Free, EventKind::Free),
            (HistoryKind::Failed, EventKind::Failed),
            (HistoryKind::UnknownFree, EventKind::UnknownFree),
            (HistoryKind::Register, EventKind::Register),
        ];
        let (_, kind) = kinds.into_iter().find(|(raw, _)| *raw as u32 == kind)?;
        Some(Self {
            kind,
            time_ns,
            proc,
            pid: tgid,
            tid,
            key,
            row: RowKey {
                proc,
                owner,
                space,
                pool,
                ogen,
                reserved: 0,
            },
            sequence,
            requested,
            charged,
            address,
        })
    }
}
