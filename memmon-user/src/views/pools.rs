//! What every view agrees on about pools and devices: their order and their names.

use std::cmp::Ordering;

use super::text;
use super::units::UNKNOWN;
use crate::tables::snapshot::Device;

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

/// The runtime's own id of the device, or `?`. Where several devices have that id (each process may
/// see its own), the end of the device's unique id stands behind it.
pub fn device_id(
    devices: &[Device],
    runtime: &str,
    device: Option<i64>,
    uid: Option<&str>,
) -> String {
    let Some(id) = device else {
        return uid.map_or_else(|| UNKNOWN.into(), text::visible);
    };
    let others = devices
        .iter()
        .filter(|other| other.runtime == runtime && other.device == device)
        .filter_map(|other| other.device_uid.as_deref())
        .filter(|other| Some(*other) != uid);
    let Some(uid) = uid else {
        return id.to_string();
    };
    // As much of it as tells it from the others, four at the least.
    match others.map(|other| common_end(uid, other) + 1).max() {
        Some(distinct) => format!("{id}…{}", text::visible(end(uid, distinct.max(4)))),
        None => id.to_string(),
    }
}

fn common_end(a: &str, b: &str) -> usize {
    a.bytes()
        .rev()
        .zip(b.bytes().rev())
        .take_while(|(a, b)| a == b)
        .count()
}

fn end(text: &str, length: usize) -> &str {
    let from = text.len().saturating_sub(length);
    text.get(from..).unwrap_or(text)
}

/// The user's name; the number where the system has no name for it.
pub fn user(name: Option<&str>, uid: Option<u32>) -> String {
    match (name, uid) {
        (Some(name), _) => text::visible(name),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => UNKNOWN.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_one_id_are_told_apart() {
        let device = |uid: &str| Device {
            runtime: "tt-metal".into(),
            device: Some(0),
            device_uid: Some(uid.into()),
            ..Device::default()
        };
        let both = [device("720001"), device("710001")];
        let id = |devices: &[Device], uid| device_id(devices, "tt-metal", Some(0), uid);
        assert_eq!(id(&both, Some("720001")), "0…20001");
        assert_eq!(id(&both, Some("710001")), "0…10001");
        // One that is gone, but is still spoken of.
        assert_eq!(id(&both[..1], Some("999999")), "0…9999");
        assert_eq!(id(&both[..1], Some("720001")), "0");
        assert_eq!(id(&both, None), "0");
        assert_eq!(device_id(&[], "tt-metal", None, None), UNKNOWN);
    }
}
