//! What a client of the daemon costs: a real client on a real socket, with a made-up snapshot of a
//! large machine.
//!
//! `cargo run --release --ignore-rust-version -p memmon-user --example client_cost -- [PROCESSES] [DEVICES] [PROGRAM]`
//!
//! With the path of a `memmon-ebpf`, `-q` is timed as a whole, too.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use memmon::{
    observe::Request,
    server::{Access, Claim, Client, Commands, Daemon, Sources, protocol},
    tables::{Filter, snapshot::Snapshot},
};
use tokio::sync::mpsc;

#[allow(dead_code, reason = "shared with the tests of the views")]
#[path = "../src/views/sample.rs"]
mod sample;
use memmon::tables;

const ROUNDS: usize = 31;
const WATCHERS: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual: u32| words.get(at).map_or(Ok(usual), |word| word.parse());
    let (processes, devices) = (number(0, 1000)?, number(1, 8)?);
    let snapshot = machine(processes, devices);

    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    let everybody = Access {
        mode: 0o600,
        group: None,
    };
    let listening = Claim::take(&socket).await?.listen(&everybody)?;
    let daemon = Daemon::new(sources(snapshot.clone()), Commands::Own);
    let serving = daemon.clone();
    tokio::spawn(async move { serving.serve(listening, std::future::pending()).await });

    let answer = protocol::Answer::Snapshot(snapshot.clone().into());
    let bytes = protocol::frame(&answer)?.len();
    println!("{processes} processes x {devices} devices: an answer of {bytes} bytes\n");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let client = Client::connect(&socket, Duration::ZERO).await?;
        client.snapshot(Filter::default()).await?;
        times.push(start.elapsed());
    }
    report("a question, its answer read and understood", &times);
    report(
        "  of this, the daemon writes JSON",
        &timed(|| protocol::frame(&answer).is_ok()),
    );
    let text = serde_json::to_vec(&answer)?;
    report(
        "  and the client reads it",
        &timed(|| serde_json::from_slice::<protocol::Answer>(&text).is_ok()),
    );
    if let Some(program) = words.get(2) {
        for format in ["json", "table"] {
            let times = whole(Path::new(program), &socket, format)?;
            report(
                &format!("`memmon-ebpf -q --format {format}` as a whole"),
                &times,
            );
        }
    }
    let before = processor_time()?;
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        let socket = socket.clone();
        watchers.spawn(async move { watch(&socket).await });
    }
    let mut seen = 0;
    while let Some(count) = watchers.join_next().await {
        seen += count??;
    }
    let spent = processor_time()? - before;
    println!(
        "{WATCHERS} watchers of one pace, {seen} snapshots taken unread: {:.2} ms of processor time each",
        spent.as_secs_f64() * 1000.0 / seen as f64
    );
    Ok(())
}

/// Snapshots that are only counted, so that what is spent is the daemon's.
async fn watch(socket: &Path) -> anyhow::Result<usize> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::UnixStream::connect(socket).await?;
    let wish = protocol::Wish::Watch { refresh_ms: 200 };
    let ask = protocol::frame(&protocol::Ask::new(wish, Filter::default()))?;
    stream.write_all(&ask).await?;
    let mut buffer = vec![0; 1 << 20];
    for seen in 0.. {
        if seen == 10 {
            return Ok(seen);
        }
        let mut left = u64::from(stream.read_u32().await?);
        while left > 0 {
            let room = buffer.len().min(usize::try_from(left)?);
            left -= stream.read_exact(&mut buffer[..room]).await? as u64;
        }
    }
    Ok(0)
}

fn whole(program: &Path, socket: &Path, format: &str) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let status = Command::new(program)
            .args(["-q", "--format", format, "--socket"])
            .arg(socket)
            .stdout(Stdio::null())
            .status()?;
        anyhow::ensure!(status.success(), "{status}");
        times.push(start.elapsed());
    }
    Ok(times)
}

fn timed(mut work: impl FnMut() -> bool) -> Vec<Duration> {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(work());
            start.elapsed()
        })
        .collect()
}

fn report(what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort();
    let median = times[times.len() / 2].as_secs_f64() * 1000.0;
    println!("{what:<48} {median:>7.1} ms");
}

fn processor_time() -> anyhow::Result<Duration> {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    let time = nix::time::clock_gettime(clock).context("the processor time")?;
    Ok(time.into())
}

fn sources(snapshot: Snapshot) -> Sources {
    let (requests, mut inbox) = mpsc::channel::<Request>(1);
    let (inspections, _) = mpsc::channel(1);
    let (follows, _) = mpsc::channel(1);
    let (audits, _) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(request) = inbox.recv().await {
            let _ = request.reply.send(request.filter.apply(snapshot.clone()));
        }
    });
    Sources {
        requests,
        inspections,
        follows,
        audits,
        scope: Filter::default(),
    }
}

fn machine(processes: u32, devices: u32) -> Snapshot {
    let mut snapshot = sample::empty();
    let ids = || (0..i64::from(devices)).zip(1_u64..);
    snapshot.devices = ids()
        .map(|(id, _)| sample::device(id, vec![sample::pool("DRAM", 12 * sample::GIB, Some(0), 0)]))
        .collect();
    snapshot.processes = (0..processes)
        .map(|at| {
            let usage = ids()
                .map(|(id, n)| {
                    let bytes = n * sample::MIB + u64::from(at);
                    sample::usage(id, "DRAM", bytes, bytes, 12)
                })
                .collect();
            let command = ["python3", "serve.py", "--model", "llama-70b"];
            sample::process(10_000 + at, "python", &command, "ada", usage)
        })
        .collect();
    snapshot
}
