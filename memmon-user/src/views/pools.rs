//! What every view agrees on about pools and devices: their names, and their order.

use super::units::UNKNOWN;
use crate::{
    tables::snapshot::{Device, Snapshot},
    text,
};

pub use crate::tables::order::of_pools as order;

/// The memory of the device itself: what a person means by "its memory".
pub fn is_main(pool: &str) -> bool {
    matches!(pool, "DRAM" | "DEVICE")
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

/// `cuda:0`: the device of a runtime, where it stands alone.
pub fn device_label(
    devices: &[Device],
    runtime: &str,
    device: Option<i64>,
    uid: Option<&str>,
) -> String {
    let id = device_id(devices, runtime, device, uid);
    format!("{}:{id}", text::visible(runtime))
}

/// `tt-metal:0,1`: devices of a runtime by their ids alone.
pub fn device_ids(runtime: &str, ids: &[Option<i64>]) -> String {
    let ids: Vec<String> = ids
        .iter()
        .map(|id| id.map_or_else(|| UNKNOWN.into(), |id| id.to_string()))
        .collect();
    format!("{}:{}", text::visible(runtime), ids.join(","))
}

/// Whether devices have to be told apart by their runtime: device 0 of one is not device 0 of another.
pub fn has_many_runtimes(snapshot: &Snapshot) -> bool {
    let usage = snapshot.processes.iter().flat_map(|it| it.usage.iter());
    let mut runtimes = snapshot
        .devices
        .iter()
        .map(|device| &device.runtime)
        .chain(usage.flatten().map(|row| &row.runtime));
    let first = runtimes.next();
    runtimes.any(|runtime| Some(runtime) != first)
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
