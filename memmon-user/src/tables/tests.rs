use std::collections::BTreeMap;

use memmon_ebpf::ledger::{RowKey, RowValue};

use super::{
    facts::{
        Baseline, DeviceFacts, OwnerId, Placement, PoolCapacity, PoolFacts, ProcessFacts,
        RuntimeFacts, Since,
    },
    *,
};

fn tables() -> Tables {
    let pools = BTreeMap::from([(
        0,
        PoolFacts {
            name: "DRAM".to_owned(),
            charged: true,
        },
    )]);
    let runtime = RuntimeFacts {
        name: "tt-metal".to_owned(),
        pools,
    };
    let mut tables = Tables::new(String::new(), Observer::default(), vec![runtime]);
    tables.process(
        1,
        ProcessFacts {
            pid: 100,
            ..ProcessFacts::default()
        },
    );
    tables.understood(1, true);
    tables.since(1, Since::Start);
    tables
}

fn tell(tables: &mut Tables, rows: Vec<(RowKey, RowValue)>) {
    for (key, value) in rows {
        tables.row(key, value);
    }
    tables.raise_peaks();
}

fn expire(tables: &mut Tables, now_ns: u64) -> Vec<u64> {
    let old = tables.expired(now_ns).procs;
    for proc in &old {
        tables.forget_process(*proc);
    }
    old
}

fn key(owner: u64, ogen: u32) -> RowKey {
    RowKey {
        proc: 1,
        owner,
        ogen,
        ..RowKey::default()
    }
}

fn row(charged: i64, sequence: u64) -> RowValue {
    RowValue {
        requested: charged,
        charged,
        peak_charged: charged,
        live: 1,
        allocations: 1,
        sequence,
        ..RowValue::default()
    }
}

fn chips(ids: &[i64]) -> Placement {
    Placement {
        devices: ids
            .iter()
            .map(|id| DeviceFacts {
                id: Some(*id),
                ..DeviceFacts::default()
            })
            .collect(),
        pools: BTreeMap::from([(
            0,
            PoolCapacity {
                banks: 12,
                bytes: 1200,
                largest_free_per_bank: None,
                base: None,
            },
        )]),
    }
}

fn owner(owner: u64) -> OwnerId {
    OwnerId {
        proc: 1,
        space: 0,
        owner,
    }
}

#[test]
fn a_mesh_stands_on_every_chip() {
    let mut tables = tables();
    tell(&mut tables, vec![(key(7, 0), row(64, 1))]);
    tables.placement(owner(7), 0, chips(&[0, 1]));
    let snapshot = tables.snapshot(String::new());
    let usage = snapshot.processes[0].usage.as_ref().unwrap();
    assert_eq!(usage.len(), 2);
    assert!(usage.iter().all(|row| row.charged_bytes == Some(64)));
    assert_eq!(snapshot.devices.len(), 2);
    assert_eq!(snapshot.devices[1].pools[0].capacity_bytes, Some(1200));
}

#[test]
fn old_reads_do_not_overwrite() {
    let mut tables = tables();
    tell(&mut tables, vec![(key(7, 0), row(64, 5))]);
    tell(&mut tables, vec![(key(7, 0), row(32, 4))]);
    let snapshot = tables.snapshot(String::new());
    let usage = &snapshot.processes[0].usage.as_ref().unwrap()[0];
    assert_eq!(usage.charged_bytes, Some(64));
    assert_eq!((usage.device, usage.exact), (None, true));
}

#[test]
fn an_ended_generation_holds_nothing() {
    let mut tables = tables();
    tables.placement(owner(7), 0, chips(&[0]));
    tell(
        &mut tables,
        vec![(key(7, 0), row(64, 1)), (key(7, 1), row(16, 1))],
    );
    tables.freed_all(owner(7), 0);
    let snapshot = tables.snapshot(String::new());
    let usage = &snapshot.processes[0].usage.as_ref().unwrap()[0];
    assert_eq!(usage.charged_bytes, Some(16));
    assert_eq!((usage.allocations, usage.frees), (Some(2), Some(1)));
    assert_eq!(usage.peak_charged_bytes, Some(80));
}

#[test]
fn recovered_and_freed_is_nothing() {
    let mut tables = tables();
    tables.baseline(
        key(7, 0),
        Baseline {
            requested: 64,
            charged: 64,
            live: 1,
            ..Baseline::default()
        },
    );
    tell(
        &mut tables,
        vec![(
            key(7, 0),
            RowValue {
                requested: -64,
                charged: -64,
                live: -1,
                frees: 1,
                sequence: 1,
                ..RowValue::default()
            },
        )],
    );
    let snapshot = tables.snapshot(String::new());
    let usage = &snapshot.processes[0].usage.as_ref().unwrap()[0];
    assert_eq!(usage.charged_bytes, Some(0));
    assert_eq!(usage.live_allocations, Some(0));
    assert_eq!(usage.peak_charged_bytes, Some(64));
}

#[test]
fn what_is_missing_is_unknown() {
    let mut tables = tables();
    tables.since(1, Since::Attach);
    tell(
        &mut tables,
        vec![(
            key(7, 0),
            RowValue {
                charged: -64,
                sequence: 1,
                ..RowValue::default()
            },
        )],
    );
    let snapshot = tables.snapshot(String::new());
    let usage = &snapshot.processes[0].usage.as_ref().unwrap()[0];
    assert_eq!((usage.charged_bytes, usage.exact), (None, false));
    assert_eq!(snapshot.health.inexact_rows, 1);
}

#[test]
fn exited_processes_are_shown_for_a_while_and_hold_no_device() {
    let mut tables = tables();
    tables.placement(owner(7), 0, chips(&[0]));
    tell(&mut tables, vec![(key(7, 0), row(64, 1))]);
    tables.exited(1, 10);
    let snapshot = tables.snapshot(String::new());
    assert_eq!(snapshot.processes[0].state, "exited");
    let usage = &snapshot.processes[0].usage.as_ref().unwrap()[0];
    assert_eq!(usage.charged_bytes, Some(64));
    assert!(snapshot.devices.is_empty());
    assert!(expire(&mut tables, 10 + EXITED_SHOWN_NS).is_empty());
    assert_eq!(expire(&mut tables, 11 + EXITED_SHOWN_NS), vec![1]);
}

#[test]
fn filters() {
    let mut tables = tables();
    tables.placement(owner(7), 0, chips(&[0, 1]));
    tell(&mut tables, vec![(key(7, 0), row(64, 1))]);
    let take = |filter: Filter| filter.apply(tables.snapshot(String::new()));
    let device = take(Filter {
        devices: vec![1],
        ..Filter::default()
    });
    assert_eq!(device.devices.len(), 1);
    assert_eq!(device.processes[0].usage.as_ref().unwrap().len(), 1);
    let pid = take(Filter {
        pids: vec![1],
        ..Filter::default()
    });
    assert!(pid.processes.is_empty());
    let runtime = take(Filter {
        runtimes: vec!["cuda".to_owned()],
        ..Filter::default()
    });
    assert!(runtime.processes.is_empty() && runtime.devices.is_empty());
    let snapshot = tables.snapshot(String::new());
    for filter in [
        Filter::default(),
        Filter {
            devices: vec![1],
            ..Filter::default()
        },
        Filter {
            pids: vec![1],
            ..Filter::default()
        },
    ] {
        assert_eq!(filter.part_of(&snapshot), filter.apply(snapshot.clone()));
    }
}

/// More end than can be shown: the latest are.
#[test]
fn processes_that_end_by_the_thousand() {
    let mut tables = tables();
    let held = RowValue {
        charged: 7,
        live: 1,
        sequence: 1,
        ..RowValue::default()
    };
    let many = 2 * EXITED_SHOWN as u64;
    for proc in 2..2 + many {
        tables.process(proc, ProcessFacts::default());
        tables.row(RowKey { proc, ..key(1, 0) }, held);
        tables.exited(proc, proc);
    }
    let forgotten = expire(&mut tables, many);
    assert_eq!(forgotten, (2..2 + many / 2).collect::<Vec<_>>());
    let shown = tables.snapshot(String::new()).processes;
    assert_eq!(shown.len(), 1 + EXITED_SHOWN);
    assert_eq!(tables.rows.len(), EXITED_SHOWN);
}

/// Whoever ended with memory in hand is shown for as long as there is room, however many others
/// ended after it.
#[test]
fn who_held_something_is_forgotten_last() {
    let mut tables = tables();
    let held = RowValue {
        charged: 7,
        live: 1,
        allocations: 1,
        sequence: 1,
        ..RowValue::default()
    };
    let freed = RowValue {
        charged: 0,
        live: 0,
        frees: 1,
        ..held
    };
    let all = EXITED_SHOWN as u64 + 30;
    // The first ten left something, the next ten nothing; the next twenty never had anything; and
    // all the others left something.
    for proc in 2..2 + all {
        tables.process(proc, ProcessFacts::default());
        let row = match proc - 2 {
            10..20 => Some(freed),
            20..40 => None,
            _ => Some(held),
        };
        if let Some(row) = row {
            tables.row(RowKey { proc, ..key(1, 0) }, row);
        }
        tables.exited(proc, proc);
    }
    let expired = tables.expired(all);
    let (nothing, never) = (12..22, 22..42);
    assert_eq!(expired.procs, never.chain(nothing).collect::<Vec<_>>());
    assert_eq!(expired.early, 10, "who never had anything is not shown");
    // Who is old is not forgotten early.
    let later = tables.expired(EXITED_SHOWN_NS + 2 + all);
    assert_eq!((later.procs.len() as u64, later.early), (all, 0));
}

#[test]
fn one_runtime_was_seen_and_another_was_not() {
    let mut tables = tables();
    let other = RowKey {
        space: 1,
        ..key(8, 0)
    };
    tables.unseen(1, 1);
    tell(&mut tables, vec![(key(7, 0), row(64, 1))]);
    // It has nothing of the other.
    assert_eq!(tables.snapshot(String::new()).processes[0].since, "start");
    tell(&mut tables, vec![(other, row(32, 1))]);
    let snapshot = tables.snapshot(String::new());
    let process = &snapshot.processes[0];
    assert_eq!(process.since, "attach");
    let rows = process.usage.iter().flatten();
    let exact: BTreeMap<_, _> = rows.map(|row| (row.charged_bytes, row.exact)).collect();
    assert_eq!(exact, [(Some(64), true), (Some(32), false)].into());
    // It is told to others, too.
    let mut copy = Tables::default();
    for fact in tables.checkpoint() {
        copy.apply(&fact);
    }
    assert_eq!(copy.snapshot(String::new()), snapshot);
}

/// Devices of two runtimes have the same id and no serial: nothing of them is added up, and what is
/// hidden of one is no doubt of the other.
#[test]
fn two_runtimes_in_one_process() {
    let pools = |names: &[&str]| -> BTreeMap<u32, PoolFacts> {
        let pools = names.iter().map(|name| PoolFacts {
            name: (*name).to_owned(),
            charged: *name != "IMPORTED",
        });
        (0..).zip(pools).collect()
    };
    let runtimes = vec![
        RuntimeFacts {
            name: "hip".to_owned(),
            pools: pools(&["HOST", "DEVICE"]),
        },
        RuntimeFacts {
            name: "cuda".to_owned(),
            pools: pools(&["IMPORTED", "DEVICE"]),
        },
    ];
    let mut tables = Tables::new(String::new(), Observer::default(), runtimes);
    tables.process(1, ProcessFacts::default());
    tables.understood(1, true);
    tables.recovered(1, 1, true);
    let mut rows = Vec::new();
    for (space, pool, charged) in [(0, 0, 1), (0, 1, 10), (1, 0, 100), (1, 1, 1000)] {
        let id = OwnerId {
            proc: 1,
            space,
            owner: 7,
        };
        tables.placement(id, 0, chips(&[0]));
        let key = RowKey {
            space,
            pool,
            ..key(7, 0)
        };
        rows.push((key, row(charged, 1)));
    }
    tell(&mut tables, rows);
    let mut copy = Tables::default();
    for fact in tables.checkpoint() {
        copy.apply(&fact);
    }
    for tables in [tables, copy] {
        let snapshot = tables.snapshot(String::new());
        let seen: Vec<_> = snapshot.processes[0]
            .usage
            .iter()
            .flatten()
            .map(|row| {
                (
                    row.runtime.as_str(),
                    row.pool.as_str(),
                    row.charged_bytes,
                    row.uncharged,
                    row.exact,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("cuda", "DEVICE", Some(1000), false, true),
                ("cuda", "IMPORTED", None, true, true),
                ("hip", "DEVICE", Some(10), false, false),
                ("hip", "HOST", Some(1), false, false),
            ]
        );
        assert_eq!(snapshot.processes[0].since, "attach");
        let devices: Vec<_> = snapshot
            .devices
            .iter()
            .flat_map(|device| device.pools.iter().map(move |pool| (device, pool)))
            .filter(|(_, pool)| pool.charged_bytes != Some(0))
            .map(|(device, pool)| {
                (
                    device.runtime.as_str(),
                    pool.pool.as_str(),
                    pool.charged_bytes,
                )
            })
            .collect();
        assert_eq!(
            devices,
            [
                ("cuda", "DEVICE", Some(1000)),
                ("hip", "DEVICE", Some(10)),
                ("hip", "HOST", Some(1)),
            ]
        );
    }
}

/// The peak of a device lasts longer than whoever used it; of devices that come and go for ever, some are remembered.
#[test]
fn peaks_of_devices_that_are_gone() {
    let mut tables = tables();
    for proc in 1..3_000 {
        let device = i64::try_from(proc).unwrap();
        tables.process(proc, ProcessFacts::default());
        let id = OwnerId { proc, ..owner(7) };
        tables.placement(id, 0, chips(&[device]));
        let key = RowKey { proc, ..key(7, 0) };
        tell(&mut tables, vec![(key, row(64, 1))]);
        if proc > 1 {
            tables.forget_process(proc - 1);
        }
        assert!(tables.device_peaks.len() <= 2 * DEVICE_PEAKS);
        assert!(
            proc < 2
                || tables
                    .device_peaks
                    .contains_key(&(DeviceKey::Id(device), 0, 0))
        );
    }
    assert!(tables.device_peaks.len() > 1);
}
