//! What every view agrees on about pools and devices: their order and their names.

use std::cmp::Ordering;

use super::text;
use super::units::UNKNOWN;

/// Circular buffers: programs register them, the allocator does not charge them.
pub const CIRCULAR_BUFFERS: &str = "CB";

/// The pools that run out first and are asked about first come first; unknown names follow in their own order.
const ORDER: [&str; 10] = [
    "DRAM",
    "DEVICE",
    "MANAGED",
    "SHARED",
    "L1",
    "L1_SMALL",
    "TRACE",
    CIRCULAR_BUFFERS,
    "SYSTEM_MEMORY",
    "HOST",
];

/// The memory of the device itself: what a person means by "its memory".
pub fn is_main(pool: &str) -> bool {
    matches!(pool, "DRAM" | "DEVICE")
}

pub fn order(a: &str, b: &str) -> Ordering {
    let rank = |pool: &str| ORDER.iter().position(|p| *p == pool).unwrap_or(ORDER.len());
    rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
}

/// The runtime's own id of the device, or `?`.
pub fn device_id(device: Option<i64>, uid: Option<&str>) -> String {
    match (device, uid) {
        (Some(device), _) => device.to_string(),
        (None, Some(uid)) => text::visible(uid),
        (None, None) => UNKNOWN.into(),
    }
}

/// The user's name; the number where the system has no name for it.
pub fn user(name: Option<&str>, uid: Option<u32>) -> String {
    match (name, uid) {
        (Some(name), _) => text::visible(name),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => UNKNOWN.into(),
    }
}
