//! Snapshots to look at: for the tests of the views, and for `examples/tui_demo.rs`, which includes this file.

use crate::tables::snapshot::{
    Audit, Device, Health, Library, Observer, Pool, Process, SCHEMA, Snapshot, Usage,
};

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Nothing is there yet: libraries are being waited for.
pub fn empty() -> Snapshot {
    Snapshot {
        schema: SCHEMA.into(),
        taken_at: "2026-01-31T12:00:00.123456789Z".into(),
        host: "qb-01".into(),
        observer: Observer {
            version: "0.1.0".into(),
            started_at: "2026-01-31T11:00:00Z".into(),
            scope: "all".into(),
        },
        ..Snapshot::default()
    }
}

/// A busy machine: two devices, one nearly full, a process of every kind.
pub fn busy() -> Snapshot {
    let mut snapshot = empty();
    snapshot.health = Health {
        events: 1_234_567,
        inexact_rows: 1,
        inherited_frees: 3,
        ..Health::default()
    };
    snapshot.libraries = vec![library("tt-metal", "/opt/venv/lib/libtt_metal.so", 3)];
    snapshot.devices = vec![
        device(
            0,
            vec![
                pool(
                    "DRAM",
                    12 * GIB,
                    Some(11 * GIB + 512 * MIB),
                    11 * GIB + 700 * MIB,
                ),
                pool("L1", 112 * MIB, Some(14 * MIB), 90 * MIB),
                pool("L1_SMALL", 2 * MIB, Some(0), 0),
                pool("TRACE", 400 * MIB, Some(310 * MIB), 310 * MIB),
            ],
        ),
        device(
            1,
            vec![
                pool("DRAM", 12 * GIB, Some(3 * GIB), 9 * GIB + 300 * MIB),
                pool("L1", 112 * MIB, None, 0),
            ],
        ),
    ];
    snapshot.processes = vec![
        process(
            4_011,
            "python",
            &["python3", "serve.py", "--model", "llama-70b"],
            "ada",
            vec![
                usage(0, "DRAM", 7 * GIB + 123, 7 * GIB + MIB, 812),
                usage(0, "L1", 9 * MIB, 10 * MIB, 40),
                usage(0, "TRACE", 300 * MIB, 310 * MIB, 2),
                Usage {
                    charged_bytes: None,
                    peak_charged_bytes: None,
                    uncharged: true,
                    ..usage(0, "CB", 3 * MIB, 0, 96)
                },
                usage(1, "DRAM", 2 * GIB, 2 * GIB + 9 * MIB, 400),
            ],
        ),
        process(
            512,
            "pytest",
            &["pytest", "-k", "conv2d and not slow"],
            "grace",
            vec![
                Usage {
                    exact: false,
                    failed_allocations: Some(2),
                    ..usage(0, "DRAM", 4 * GIB, 4 * GIB + 511 * MIB, 31)
                },
                usage(0, "L1", 4 * MIB, 4 * MIB, 8),
            ],
        ),
        Process {
            usage: None,
            since: "attach".into(),
            ..process(77, "old-server", &["/srv/old-server"], "root", vec![])
        },
        Process {
            state: "exited".into(),
            ..process(
                3_999,
                "python",
                &["python3", "leaky.py"],
                "ada",
                vec![usage(1, "DRAM", 800 * MIB, 900 * MIB, 7)],
            )
        },
        process(9_000, "idle", &["idle"], "grace", vec![]),
    ];
    snapshot
}

/// Two runtimes on devices of the same ids, beside each other and in one process.
pub fn two_runtimes() -> Snapshot {
    let of_cuda = |usage: Usage| Usage {
        runtime: "cuda".into(),
        device_uid: None,
        ..usage
    };
    let mut snapshot = busy();
    snapshot
        .libraries
        .insert(0, library("cuda", "/usr/lib/libcuda.so.1", 1));
    let cards = [0, 1].map(|id| Device {
        runtime: "cuda".into(),
        device_uid: None,
        name: None,
        pools: vec![Pool {
            capacity_bytes: None,
            banks: None,
            largest_free_bytes_per_bank: None,
            ..pool("DEVICE", 4 * GIB, Some(2 * GIB), 3 * GIB)
        }],
        ..device(id, Vec::new())
    });
    snapshot.devices.splice(0..0, cards);
    if let Some(usage) = snapshot
        .processes
        .first_mut()
        .and_then(|it| it.usage.as_mut())
    {
        let rows = [
            usage_of("DEVICE", 0, 2 * GIB),
            Usage {
                charged_bytes: None,
                peak_charged_bytes: None,
                uncharged: true,
                ..usage_of("IMPORTED", 0, 5 * MIB)
            },
            usage_of("DEVICE", 1, 2 * GIB),
        ];
        usage.splice(0..0, rows.map(of_cuda));
    }
    snapshot
}

fn usage_of(pool: &str, device: i64, bytes: u64) -> Usage {
    usage(device, pool, bytes, bytes, 10)
}

/// What went wrong is said: lost events, a library that is not understood, a process whose strings attack the terminal.
pub fn troubled() -> Snapshot {
    let mut snapshot = busy();
    snapshot.health = Health {
        events: 88_000,
        lost_events: 12,
        failed_reads: 3,
        unknown_frees: 4,
        failed_frees: 0,
        inexact_rows: 1,
        inherited_frees: 0,
        notes: vec!["the ring was full for 40 ms\u{1b}[2J".into()],
        audit: Some(Box::new(Audit {
            at: "2026-01-31T11:59:40Z".into(),
            took_ns: 1_500_000,
            audits: 4,
            processes: 3,
            rows: 12,
            differed: 1,
            unsettled: 2,
            differed_in_all: 1,
        })),
    };
    snapshot.libraries.push(Library {
        layout: None,
        probes: 0,
        processes: 1,
        problem: Some(
            "Buffer::size() is inlined and no layout table matches; see `memmon-ebpf doctor`"
                .into(),
        ),
        ..library("tt-metal", "/srv/old/libtt_metal.so", 1)
    });
    snapshot.processes.push(hostile());
    snapshot
}

/// A process whose name and command line try to clear the screen, set the title and write backwards.
pub fn hostile() -> Process {
    process(
        666,
        "\u{1b}]0;pwn\u{7}\n",
        &[
            "\u{1b}[2J\u{1b}[H",
            "a\nb,\"c\"",
            "\u{202e}gnp.exe",
            "z\u{301}\u{301}\u{301}\u{301}\u{301}",
            "\u{9b}31m",
        ],
        "m\u{1b}[5mallory",
        vec![Usage {
            device: None,
            device_uid: None,
            ..usage(0, "DRAM", 5 * MIB, 6 * MIB, 1)
        }],
    )
}

/// As many rows as one asks for.
pub fn crowd(rows: u32) -> Snapshot {
    let mut snapshot = busy();
    snapshot.processes = (0..rows)
        .map(|n| {
            let bytes = u64::from(n.wrapping_mul(2_654_435_761) >> 8) * 977;
            process(
                100 + n,
                "python",
                &["python3", "-m", "worker", "--rank", &n.to_string()],
                "ada",
                vec![
                    usage(i64::from(n % 32), "DRAM", bytes, bytes, u64::from(n)),
                    usage(i64::from(n % 32), "L1", bytes / 64, bytes / 64, 1),
                ],
            )
        })
        .collect();
    snapshot
}

pub fn library(runtime: &str, path: &str, processes: usize) -> Library {
    Library {
        runtime: runtime.into(),
        path: path.into(),
        build_id: Some("5f1c".into()),
        layout: Some("decoded".into()),
        probes: 5,
        processes,
        problem: None,
        notes: Vec::new(),
    }
}

pub fn device(id: i64, pools: Vec<Pool>) -> Device {
    Device {
        runtime: "tt-metal".into(),
        device: Some(id),
        device_uid: Some(format!("7205926936983968{id}")),
        name: Some("wormhole_b0".into()),
        pools,
    }
}

pub fn pool(name: &str, capacity: u64, charged: Option<u64>, peak: u64) -> Pool {
    Pool {
        pool: name.into(),
        capacity_bytes: Some(capacity),
        charged_bytes: charged,
        peak_charged_bytes: charged.map(|_| peak),
        banks: Some(12),
        largest_free_bytes_per_bank: charged.map(|c| (capacity - c) / 24),
    }
}

pub fn process(pid: u32, comm: &str, command: &[&str], user: &str, usage: Vec<Usage>) -> Process {
    Process {
        pid,
        start_time: Some("2026-01-31T11:30:00.000000000Z".into()),
        comm: comm.into(),
        command: command.iter().map(|s| String::from(*s)).collect(),
        uid: Some(1000),
        user: Some(user.into()),
        cgroup: Some("/user.slice/session-2.scope".into()),
        state: "running".into(),
        since: "start".into(),
        usage: Some(usage),
    }
}

pub fn usage(device: i64, pool: &str, requested: u64, charged: u64, live: u64) -> Usage {
    Usage {
        runtime: "tt-metal".into(),
        device: Some(device),
        device_uid: Some(format!("7205926936983968{device}")),
        pool: pool.into(),
        requested_bytes: Some(requested),
        charged_bytes: Some(charged),
        peak_charged_bytes: Some(charged + charged / 8),
        live_allocations: Some(live),
        allocations: Some(live * 5),
        frees: Some(live * 4),
        failed_allocations: Some(0),
        exact: true,
        rebased: 0,
        uncharged: false,
    }
}
