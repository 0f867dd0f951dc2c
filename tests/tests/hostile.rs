//! Clients that mean no good, or are simply broken: they cost themselves only.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{acquainted, agrees},
    fixture::{Fault, Fixture, Layout},
    memmon::Daemon,
    people::{nobody, open_directory},
    raw::Connection,
};
use serde_json::json;

const KINDS: usize = 6;
/// More than one user may have, and in all fewer than there are places.
const HOSTILE: usize = 200;

/// One of them, of a kind. What it opened stays open for as long as the caller likes.
fn misbehave(socket: &Path, kind: usize) -> Result<Connection> {
    let mut client = Connection::open(socket)?;
    // What becomes of it is its own affair: the daemon may have closed it already.
    let _ = match kind % KINDS {
        // Says nothing.
        0 => Ok(()),
        // No protocol at all.
        1 => client.stream.write_all(&[0xa5; 3000]),
        // Half a message.
        2 => client.stream.write_all(b"\x00\x00\x01\x00{\"protocol\": 1"),
        // A length that nobody has.
        3 => client.stream.write_all(&[0xff; 4]),
        // Watches as fast as it can, and never reads.
        4 => {
            let _ = client.wish(json!({"watch": {"refresh_ms": 0}}));
            Ok(())
        }
        // Asks again and again, reads nothing, and is gone.
        _ => {
            let other = Connection::open(socket);
            if let Ok(mut other) = other {
                for _ in 0..20 {
                    let _ = other.wish(json!("snapshot"));
                    let _ = other.wish(json!({"live": {}}));
                }
            }
            Ok(())
        }
    };
    Ok(client)
}

/// How long a question takes, the median of some.
fn patience(daemon: &Daemon) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..9 {
        let start = Instant::now();
        daemon.snapshot()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("VmRSS")?.parse()?)
}

#[test]
fn hostile_clients_cost_others_nothing() -> Result<()> {
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let daemon = Daemon::start(&[])?;
    acquainted(&daemon, driver.pid())?;
    // Rows enough that what is not read fills a socket.
    driver.ask("open chips 8")?;
    driver.ask("alloc a L1 32768 4096")?;
    let alone = patience(&daemon)?;
    let socket = daemon.socket();
    let round = || -> Result<Duration> {
        let crowd: Vec<_> = (0..HOSTILE)
            .map(|kind| misbehave(&socket, kind))
            .collect::<Result<_>>()?;
        let among_them = patience(&daemon)?;
        drop(crowd);
        Ok(among_them)
    };
    round()?;
    let before = resident_kib(daemon.pid())?;
    let mut slowest = Duration::ZERO;
    for _ in 0..4 {
        slowest = slowest.max(round()?);
    }
    let after = resident_kib(daemon.pid())?;
    let bound = alone * 4 + Duration::from_millis(50);
    ensure!(slowest < bound, "{slowest:?} among them, {alone:?} alone");
    ensure!(after < before + 8192, "from {before} to {after} KiB");
    // The numbers are those of the moment, whoever else asks.
    let answer = driver.ask("alloc b DRAM 2097152 2048")?;
    agrees(&daemon, &answer)?;
    Ok(())
}

/// One user has no more than their places; root is served meanwhile, and they are free again.
#[test]
fn nobody_takes_every_place() -> Result<()> {
    let daemon = Daemon::start_in(open_directory()?, |_| {}, &["-p", "1"])?;
    let socket = daemon.socket();
    let socket = socket.as_path();
    let connections = |count: usize| {
        nobody(|| {
            (0..count)
                .map(|_| Connection::open(socket))
                .collect::<Result<Vec<_>>>()
        })
    };
    let mut crowd = connections(100)?;
    let mut served = 0;
    let mut refused = 0;
    for client in &mut crowd {
        // Those who are one too many were told so without asking.
        let _ = client.wish(json!("snapshot"));
        let answer = client.answer()?;
        match answer["error"].as_str() {
            None => served += 1,
            Some(why) => {
                ensure!(why.contains("65534 has 32 connections"), "{why}");
                refused += 1;
            }
        }
    }
    assert_eq!((served, refused), (32, 68));
    daemon.snapshot()?;
    drop(crowd);
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let mut again = connections(1)?.pop().context("one")?;
        let _ = again.wish(json!("snapshot"));
        if again.answer()?.get("snapshot").is_some() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "their places are not free again");
    }
}

/// Who says nothing is not waited for.
#[test]
fn the_silent_are_shown_out() -> Result<()> {
    let daemon = Daemon::start(&["-p", "1"])?;
    let mut silent = Connection::open(&daemon.socket())?;
    let mut half = Connection::open(&daemon.socket())?;
    half.stream.write_all(b"\x00\x00\x00\x10{\"pro")?;
    let start = Instant::now();
    ensure!(silent.answer().is_err() && half.answer().is_err());
    let took = start.elapsed();
    ensure!((4..9).contains(&took.as_secs()), "shown out after {took:?}");
    Ok(())
}

/// Ten who watch at one pace are one to the observer: its time is spent once.
#[test]
fn many_who_watch_cost_as_much_as_one() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let socket = daemon.socket();
    let moments = |count: usize| -> Result<usize> {
        let stop = AtomicBool::new(false);
        let mut all: Vec<String> = thread::scope(|scope| {
            let clients: Vec<_> = (0..count)
                .map(|_| {
                    scope.spawn(|| -> Result<Vec<String>> {
                        let mut client = Connection::open(&socket)?;
                        client.wish(json!({"watch": {"refresh_ms": 100}}))?;
                        // The first comes when it is asked for, not at the common moments.
                        client.answer()?;
                        let mut moments = Vec::new();
                        while !stop.load(Ordering::Relaxed) {
                            let taken = &client.answer()?["snapshot"]["taken_at"];
                            moments.push(taken.as_str().context("a time")?.to_owned());
                        }
                        Ok(moments)
                    })
                })
                .collect();
            thread::sleep(Duration::from_secs(2));
            stop.store(true, Ordering::Relaxed);
            clients
                .into_iter()
                .map(|client| {
                    client
                        .join()
                        .unwrap_or_else(|p| std::panic::resume_unwind(p))
                })
                .collect::<Result<Vec<_>>>()
        })?
        .concat();
        ensure!(all.len() >= 10 * count, "{} snapshots", all.len());
        all.sort();
        all.dedup();
        Ok(all.len())
    };
    let (one, ten) = (moments(1)?, moments(10)?);
    ensure!(ten <= one + 8, "{ten} snapshots for ten, {one} for one");
    Ok(())
}
