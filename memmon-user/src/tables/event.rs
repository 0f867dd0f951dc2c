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
    /// What the free will name: the buffer object, the pointer. Of a failure its error code, 0 where
    /// that is not known.
    pub key: u64,
    /// Whose totals it changed.
    #[serde(with = "RowKeyDef")]
    pub row: RowKey,
    /// The row's [`memmon_ebpf::ledger::RowValue::sequence`] after it (the lower half).
    pub sequence: u32,
    pub requested: u64,
    pub charged: u64,
    /// Of a failure: the function, see [`memmon_ebpf::spec::ProbeSpec::label`].
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
    /// A free that failed: what it named is as it was before.
    Unfreed,
}

impl Event {
    /// What a call that failed returned. Runtimes return 32 bits, some of them signed.
    pub fn error_code(&self) -> Option<i64> {
        let code = i64::from(self.key as u32 as i32);
        (self.kind == EventKind::Failed && code != 0).then_some(code)
    }

    /// The function that failed.
    pub fn label(&self) -> Option<u32> {
        (self.kind == EventKind::Failed).then_some(u32::try_from(self.address).ok()?)
    }

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
            (HistoryKind::Unfreed, EventKind::Unfreed),
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
