//! The order of what a snapshot lists: by runtime, device (one that is not known comes last) and pool.
//!
//! Whoever reads two snapshots finds the same thing in the same place, whatever was seen first.

use std::cmp::Ordering;

use super::snapshot::{Device, Library, Usage};

/// The pools that run out first and are asked about first; others follow by their names.
const POOLS: [&str; 10] = [
    "DRAM",
    "DEVICE",
    "MANAGED",
    "SHARED",
    "L1",
    "L1_SMALL",
    "TRACE",
    "CB",
    "SYSTEM_MEMORY",
    "HOST",
];

pub fn of_pools(a: &str, b: &str) -> Ordering {
    let rank = |pool: &str| POOLS.iter().position(|p| *p == pool).unwrap_or(POOLS.len());
    rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
}

/// A device as its runtime's users know it: the runtime, its id, its serial.
pub type Place<'a> = (&'a str, Option<i64>, Option<&'a str>);

pub fn of_places(a: Place<'_>, b: Place<'_>) -> Ordering {
    let ((runtime, id, uid), (other_runtime, other_id, other_uid)) = (a, b);
    let own = (runtime, id.is_none(), id, uid.is_none(), uid);
    own.cmp(&(
        other_runtime,
        other_id.is_none(),
        other_id,
        other_uid.is_none(),
        other_uid,
    ))
}

impl Usage {
    pub fn place(&self) -> Place<'_> {
        (&self.runtime, self.device, self.device_uid.as_deref())
    }
}

impl Device {
    pub fn place(&self) -> Place<'_> {
        (&self.runtime, self.device, self.device_uid.as_deref())
    }
}

pub(super) fn sort_usage(rows: &mut [Usage]) {
    rows.sort_by(|a, b| of_places(a.place(), b.place()).then_with(|| of_pools(&a.pool, &b.pool)));
}

pub(super) fn sort_devices(devices: &mut [Device]) {
    devices.sort_by(|a, b| of_places(a.place(), b.place()));
    for device in devices {
        device.pools.sort_by(|a, b| of_pools(&a.pool, &b.pool));
    }
}

/// By runtime and path.
pub(super) fn sort_libraries(libraries: &mut [Library]) {
    let key = |library: &Library| {
        (
            library.runtime.clone(),
            library.path.clone(),
            library.build_id.clone(),
        )
    };
    libraries.sort_by_cached_key(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(runtime: &str, device: Option<i64>, uid: Option<&str>, pool: &str) -> Usage {
        Usage {
            runtime: runtime.to_owned(),
            device,
            device_uid: uid.map(str::to_owned),
            pool: pool.to_owned(),
            ..Usage::default()
        }
    }

    #[test]
    fn by_runtime_then_device_then_pool_and_the_unknown_last() {
        let sorted = [
            row("cuda", Some(0), None, "DEVICE"),
            row("cuda", Some(0), None, "HOST"),
            row("cuda", Some(0), None, "A_POOL_OF_ITS_OWN"),
            row("cuda", Some(2), None, "DEVICE"),
            row("cuda", Some(10), None, "DEVICE"),
            row("cuda", None, None, "DEVICE"),
            row("tt-metal", Some(0), Some("7"), "DRAM"),
            row("tt-metal", Some(0), Some("7"), "L1"),
            row("tt-metal", Some(0), Some("8"), "DRAM"),
            row("tt-metal", Some(0), None, "DRAM"),
            row("tt-metal", None, None, "CB"),
        ];
        for shift in 0..sorted.len() {
            let mut rows = sorted.to_vec();
            rows.rotate_left(shift);
            rows.swap(0, 5);
            sort_usage(&mut rows);
            assert_eq!(rows, sorted);
        }
    }
}
