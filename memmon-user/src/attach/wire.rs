//! Wire structures as aya wants them.

use aya::Pod;
use memmon_ebpf::{
    ledger::{
        LiveKey, LiveValue, OwnerKey, OwnerValue, PendingKey, PendingValue, ProcValue, RowKey,
        RowValue,
    },
    record::{Control, Header, History},
    spec::ProbeSpec,
};

/// A structure of the wire format, in a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Wire<T>(pub T);

macro_rules! wire {
    ($($kind:ty),+) => { $(
        // SAFETY: `repr(C)` integers without padding (their sizes are asserted where they are
        // defined), valid for any bytes.
        unsafe impl Pod for Wire<$kind> {}
    )+ };
}

wire!(
    u32,
    ProbeSpec,
    ProcValue,
    OwnerKey,
    OwnerValue,
    LiveKey,
    LiveValue,
    PendingKey,
    PendingValue,
    RowKey,
    RowValue
);

/// A record of a ring buffer that any bytes make valid.
pub trait Record: Copy + Default {
    fn header(&self) -> &Header;
}

impl Record for History {
    fn header(&self) -> &Header {
        &self.header
    }
}

impl Record for Control {
    fn header(&self) -> &Header {
        &self.header
    }
}
