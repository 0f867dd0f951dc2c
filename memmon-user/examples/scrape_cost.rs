//! What a scrape costs on a large machine: 1,000 processes that each hold DRAM and L1 on 8 devices,
//! read over HTTP. The tables, the text and the server are those of `memmon-ebpf serve`; the kernel
//! side is left out.
//!
//! `cargo run --release -p memmon-user --example scrape_cost`

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::{
    observe::Request,
    server::http::Listener,
    tables::{
        Tables,
        facts::{
            DeviceFacts, OwnerId, Placement, PoolCapacity, PoolFacts, ProcessFacts, RuntimeFacts,
        },
        snapshot::Observer,
    },
};
use memmon_ebpf::ledger::{RowKey, RowValue};
use tokio::sync::mpsc;

const PROCESSES: u64 = 1000;
const DEVICES: i64 = 8;
const POOLS: [(u32, &str, u64); 2] = [(0, "DRAM", 12 << 30), (1, "L1", 112 << 20)];
const ROUNDS: usize = 21;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // All of them, and as many as `serve` shows unless told otherwise.
    for shown in [PROCESSES as usize, 200] {
        let (observer_took, observer_times) = channel();
        let address = {
            let _inside = runtime.enter();
            let listener = Listener::bind("127.0.0.1:0".parse()?)?;
            let address = listener.address;
            let (requests, inbox) = mpsc::channel(64);
            std::thread::spawn(move || observer(inbox, &observer_took));
            runtime.spawn(listener.serve(requests, shown));
            address
        };
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            let (length, took) = scrape(address)?;
            times.push(took);
            bytes = length;
        }
        println!(
            "scrape, {PROCESSES} processes x {DEVICES} devices x {} pools, {shown} with rows of their own: {:.1} ms, of them {:.1} the observer's (medians of {ROUNDS}), {bytes} bytes",
            POOLS.len(),
            median(times),
            median(observer_times.try_iter().collect()),
        );
    }
    Ok(())
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    middle.as_secs_f64() * 1e3
}

/// In place of the observer's thread: tables, and requests to them.
fn observer(mut inbox: mpsc::Receiver<Request>, took: &Sender<Duration>) {
    let tables = tables();
    while let Some(Request { filter, reply }) = inbox.blocking_recv() {
        let start = Instant::now();
        let snapshot = tables.snapshot("2026-01-31T12:00:00Z".to_owned());
        let snapshot = filter.apply(snapshot);
        let _ = took.send(start.elapsed());
        let _ = reply.send(snapshot);
    }
}

fn tables() -> Tables {
    let pools = POOLS.map(|(number, name, _)| {
        let name = name.to_owned();
        (
            number,
            PoolFacts {
                name,
                charged: true,
            },
        )
    });
    let runtime = RuntimeFacts {
        name: "tt-metal".to_owned(),
        pools: BTreeMap::from(pools),
    };
    let mut tables = Tables::new("host".to_owned(), Observer::default(), vec![runtime]);
    let capacity = |bytes| PoolCapacity {
        banks: 12,
        bytes,
        ..PoolCapacity::default()
    };
    let devices = (0..DEVICES).map(|id| DeviceFacts {
        id: Some(id),
        uid: Some(format!("7205926936983968{id}")),
        name: Some("wormhole_b0".to_owned()),
    });
    let placement = Placement {
        devices: devices.collect(),
        pools: POOLS.map(|(pool, _, bytes)| (pool, capacity(bytes))).into(),
    };
    for proc in 1..=PROCESSES {
        let facts = ProcessFacts {
            pid: proc as u32 + 1000,
            start_time: Some("2026-01-31T11:30:00Z".to_owned()),
            comm: "python".to_owned(),
            command: vec!["python".to_owned(), "serve.py".to_owned()],
            uid: Some(1000),
            user: Some("ada".to_owned()),
            cgroup: None,
        };
        tables.process(proc, facts);
        tables.understood(proc, true);
        let owner = OwnerId {
            proc,
            space: 0,
            owner: proc,
        };
        tables.placement(owner, 0, placement.clone());
        for (pool, ..) in POOLS {
            let key = RowKey {
                proc,
                owner: proc,
                pool,
                ..RowKey::default()
            };
            let bytes = (proc * 4096).cast_signed();
            let value = RowValue {
                requested: bytes,
                charged: bytes,
                peak_charged: bytes,
                live: 7,
                allocations: proc * 1000,
                frees: proc * 1000 - 7,
                ..RowValue::default()
            };
            tables.row(key, value);
        }
    }
    tables.raise_peaks();
    tables
}

/// The length of the answer, and the time from connecting to its last byte.
fn scrape(address: SocketAddr) -> Result<(usize, Duration)> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(
        b"GET /metrics HTTP/1.1\r\nhost: memmon\r\naccept: application/openmetrics-text\r\n\r\n",
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = start.elapsed();
    let text = String::from_utf8(answer)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    ensure!(body.ends_with("# EOF\n"), "the answer is cut off");
    Ok((body.len(), took))
}
