//! The time, as snapshots and the kernel tell it.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::target::boot;

/// Nanoseconds since boot, as BPF programs see them.
pub fn boot_ns() -> u64 {
    boot::ns()
}

/// The wall clock, nanoseconds since 1970.
pub fn epoch_ns() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos()).unwrap_or_default()
}

pub fn now() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// A moment that a BPF program saw.
pub fn at_boot_ns(moment: u64) -> String {
    let ago = i128::from(boot_ns()) - i128::from(moment);
    rfc3339(OffsetDateTime::now_utc().unix_timestamp_nanos() - ago).unwrap_or_default()
}

pub fn rfc3339(epoch_ns: i128) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(epoch_ns)
        .ok()?
        .format(&Rfc3339)
        .ok()
}
