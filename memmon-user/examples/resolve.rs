//! How long it takes to understand a library file: what is read of it, and how fast a copy is known again.
//!
//! `cargo run --release --ignore-rust-version -p memmon-user --example resolve -- FILE`

use std::{
    fs::File,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use memmon::{attach::plan, elf::Library, observe::Runtimes};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

const ROUNDS: usize = 9;

/// What takes time, in order.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    open: Duration,
    layout: Duration,
    probes: Duration,
    again: Duration,
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("usage: resolve FILE")?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("libtt_metal.so");
    std::fs::copy(&path, &copy)?;
    let size = std::fs::metadata(&copy)?.len();
    println!(
        "{:<40} {:>10} {:>10} {:>10} {:>10} {:>14}",
        format!("a library of {:.1} MiB, ms", size as f64 / 1048576.0),
        "headers",
        "layout",
        "probes",
        "together",
        "a copy, known"
    );
    for (name, is_cold) in [("not in memory", true), ("in memory", false)] {
        let mut all = Vec::new();
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            let file = File::open(&copy)?;
            if is_cold {
                file.sync_all()?;
                posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
            }
            let (times, read) = understand(&file)?;
            all.push(times);
            bytes = read;
        }
        let middle = |what: fn(&Times) -> Duration| {
            let mut values: Vec<Duration> = all.iter().map(what).collect();
            values.sort();
            values[values.len() / 2].as_secs_f64() * 1e3
        };
        println!(
            "{name:<40} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>14.1}   ({:.1} MiB read)",
            middle(|times| times.open),
            middle(|times| times.layout),
            middle(|times| times.probes),
            middle(|times| times.open + times.layout + times.probes),
            middle(|times| times.again),
            bytes as f64 / 1048576.0
        );
    }
    Ok(())
}

fn understand(file: &File) -> anyhow::Result<(Times, u64)> {
    let runtimes = Runtimes::load(&[] as &[&str], &[]).map_err(anyhow::Error::msg)?;
    let mut times = Times::default();
    let start = Instant::now();
    let library = Library::open(file)?;
    let build_id = library.build_id();
    times.open = start.elapsed();
    let known = runtimes.of("libtt_metal.so", build_id.as_deref());
    let known = known.first().copied().context("no runtime's library")?;
    let start = Instant::now();
    let understood = runtimes
        .understand(known, &library)
        .map_err(anyhow::Error::msg)?;
    times.layout = start.elapsed();
    let start = Instant::now();
    let probes = runtimes
        .compile(known, &understood)
        .map_err(anyhow::Error::msg)?;
    let points = plan::points(&library, &probes).map_err(anyhow::Error::msg)?;
    times.probes = start.elapsed();
    ensure!(!points.is_empty(), "no probes");
    let reads = library.reads().context("nothing was read")?;
    let start = Instant::now();
    ensure!(reads.hold_for(file), "it is not known again");
    times.again = start.elapsed();
    Ok((times, reads.bytes()))
}
