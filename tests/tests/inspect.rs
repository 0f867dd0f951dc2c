//! One by one: live allocations against the runtime's own block table, failures against its own
//! message, and what processes held when they ended.

use std::{
    sync::{PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::{
    observe::{Observation, Options, Request, Runtimes},
    tables::{
        Filter,
        live::{Inspect, LiveAsk, LiveList},
        snapshot::{Ending, Failure, Snapshot},
    },
};
use memmon_tests::{
    check::acquainted,
    fixture::{Driver, Fault, Fixture, Layout, number},
    lab::{self, Step, Workload},
    memmon::Daemon,
};
use serde_json::Value;
use tokio::sync::oneshot;

/// Whoever follows failures wants the history whole; a million allocations elsewhere flood it.
static HISTORY: RwLock<()> = RwLock::new(());

/// The release whose binding has no type for block tables: the program's own tensors are the judge there.
const NO_BLOCK_TABLE: &str = "0.70.1";

const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];
const POOLS: [&str; 4] = ["DRAM", "L1", "L1_SMALL", "TRACE"];

fn observe() -> Result<Observation> {
    let runtimes = Runtimes::load(&[] as &[&str], &[]).map_err(anyhow::Error::msg)?;
    Ok(Observation::start(
        Options::default(),
        runtimes,
        Duration::from_secs(1),
    )?)
}

fn list(observation: &Observation, ask: LiveAsk) -> Result<LiveList> {
    let (reply, answer) = oneshot::channel();
    observation
        .inspections()
        .blocking_send(Inspect { ask, reply })?;
    answer.blocking_recv().context("no list")
}

fn of(pid: u32, pool: &str) -> LiveAsk {
    LiveAsk {
        pids: vec![pid],
        pool: Some(pool.to_owned()),
        ..LiveAsk::default()
    }
}

/// Every block of every pool, where the runtime has it and as large as it has it.
///
/// How many there are, and how many of them were there before the observation.
fn same_blocks(observation: &Observation, step: &Step, chips: usize) -> Result<(usize, usize)> {
    let (mut count, mut recovered) = (0, 0);
    for pool in POOLS {
        let found = list(observation, of(step.pid, pool))?;
        let said = &step.said["pools"][pool];
        let blocks: Vec<(u64, u64)> = serde_json::from_value(said["blocks"].clone())?;
        ensure!(found.omitted == 0);
        // Each chip has one more allocator, which stays unused.
        let used = found
            .ranges
            .iter()
            .find(|range| found.allocations.iter().any(|one| one.owner == range.owner));
        let Some(range) = used.or(found.ranges.first()) else {
            ensure!(blocks.is_empty(), "{pool}: no range, but {blocks:?}");
            continue;
        };
        assert_eq!(Some(range.banks), said["banks"].as_u64(), "{pool}");
        assert_eq!(Some(range.bytes_per_bank), said["size"].as_u64(), "{pool}");
        let base = range.base.context("no base")?;
        let mut ours = Vec::new();
        for allocation in &found.allocations {
            let charged = allocation.charged_bytes.context("charged")?;
            ours.push((allocation.address - base, charged / range.banks));
            assert_eq!(allocation.owner, range.owner);
            assert_eq!(allocation.devices.len(), chips);
            // Of what was there before, neither is known.
            let seen = (allocation.tid, allocation.age_ns.is_some());
            ensure!([(Some(step.pid), true), (None, false)].contains(&seen));
            recovered += usize::from(!seen.1);
        }
        ours.sort_unstable();
        assert_eq!(ours, blocks, "step {}, {pool}", step.name);
        count += ours.len();
    }
    Ok((count, recovered))
}

/// Every tensor that the program itself has. How many there are.
fn same_tensors(observation: &Observation, step: &Step) -> Result<usize> {
    let tensors: Vec<(String, u64, u64)> = serde_json::from_value(step.said["tensors"].clone())?;
    let all = list(observation, LiveAsk::default())?;
    let count = tensors.len();
    for (pool, address, size) in tensors {
        let found = all.allocations.iter().any(|one| {
            (one.pid, one.pool.as_str(), one.address, one.requested_bytes)
                == (step.pid, pool.as_str(), address, size)
        });
        ensure!(
            found,
            "step {}: {pool} {address:#x} is not there",
            step.name
        );
    }
    Ok(count)
}

#[test]
fn live_allocations_are_the_runtimes_own_blocks() -> Result<()> {
    let observation = observe()?;
    for version in lab::versions()? {
        for (mesh, chips) in [("1x1", 1), ("1x2", 2)] {
            let mut workload = Workload::start(&version, "blocks.py", &["--mesh", mesh])?;
            let (mut blocks, mut tensors) = (0, 0);
            while let Some(step) = workload.step()? {
                if step.said["pools"].is_null() {
                    continue;
                }
                tensors += same_tensors(&observation, &step)?;
                if version != NO_BLOCK_TABLE {
                    let (found, recovered) = same_blocks(&observation, &step, chips)?;
                    assert_eq!(recovered, 0);
                    blocks += found;
                }
            }
            ensure!(workload.wait()?.success() && tensors > 20, "{tensors}");
            ensure!(blocks > 50 || version == NO_BLOCK_TABLE, "{blocks}");
            println!(
                "ttnn {version}, {mesh}: {blocks} blocks as in its block tables, and {tensors} tensors of the program's"
            );
        }
    }
    observation.stop();
    Ok(())
}

#[test]
fn live_allocations_of_before() -> Result<()> {
    let version = lab::versions()?.pop().context("no release")?;
    let mut workload = Workload::start(&version, "blocks.py", &[])?;
    let before = workload.expect_step()?;
    let observation = observe()?;
    let (blocks, recovered) = same_blocks(&observation, &before, 1)?;
    ensure!(blocks > 0 && recovered == blocks, "{recovered} of {blocks}");
    same_tensors(&observation, &before)?;
    for _ in 0..3 {
        // Some of them freed, and new ones beside them.
        let step = workload.expect_step()?;
        same_blocks(&observation, &step, 1)?;
    }
    observation.stop();
    Ok(())
}

/// Once the largest free block is known, too.
fn failures(daemon: &Daemon, pid: u32, count: usize) -> Result<Vec<Failure>> {
    daemon.wait_for(&format!("{count} failures"), |snapshot| {
        let own: Vec<Failure> = snapshot
            .failures
            .iter()
            .filter(|failure| failure.pid == pid)
            .cloned()
            .collect();
        let known = own
            .iter()
            .all(|one| one.largest_free_bytes_per_bank.is_some());
        (own.len() == count && known).then_some(own)
    })
}

fn same_message(failure: &Failure, said: &Value, chips: i64) -> Result<()> {
    let said_of = |what: &str| said[what].as_u64().context("a number");
    let banks = said_of("banks")?;
    assert_eq!(Some(failure.pool.as_str()), said["pool"].as_str());
    assert_eq!(failure.requested_bytes, said_of("asked")?);
    assert_eq!(failure.banks, Some(banks));
    assert_eq!(failure.needed_bytes, Some(said_of("needed")? * banks));
    assert_eq!(failure.capacity_bytes, Some(said_of("size")? * banks));
    assert_eq!(failure.free_bytes, Some(said_of("free")? * banks), "{said}");
    assert_eq!(
        failure.largest_free_bytes_per_bank,
        Some(said_of("largest")?)
    );
    assert_eq!(failure.devices, (0..chips).map(Some).collect::<Vec<_>>());
    let [holder] = failure.holders.as_slice() else {
        anyhow::bail!("one process alone holds it: {:?}", failure.holders);
    };
    assert_eq!(holder.pid, failure.pid);
    assert_eq!(holder.charged_bytes, said_of("allocated")? * banks);
    Ok(())
}

#[test]
fn failures_say_what_the_runtimes_message_says() -> Result<()> {
    let _whole = HISTORY.read().unwrap_or_else(PoisonError::into_inner);
    for version in lab::versions()? {
        // Also of an observation that begins when much is allocated already.
        for (mesh, chips, late) in [("1x1", 1, false), ("1x2", 2, false), ("1x1", 1, true)] {
            let mut daemon = (!late).then(|| Daemon::start(&[])).transpose()?;
            let mut workload = Workload::start(&version, "blocks.py", &["--mesh", mesh])?;
            if late {
                workload.expect_step()?;
                daemon = Some(Daemon::start(&[])?);
            }
            let daemon = daemon.context("a daemon")?;
            let mut seen = 0;
            while let Some(step) = workload.step()? {
                // Its library may have been met a moment ago.
                acquainted(&daemon, step.pid)?;
                let said = &step.said["refused"];
                if !said.is_null() {
                    seen += 1;
                    let failures = failures(&daemon, step.pid, seen)?;
                    let last = failures.last().context("none")?;
                    same_message(last, said, chips)
                        .with_context(|| format!("{version}, {}", step.name))?;
                }
            }
            assert_eq!(seen, 5, "{version}");
            println!("ttnn {version}, {mesh}: {seen} failures as in its messages");
        }
    }
    Ok(())
}

/// A daemon that has the library attached.
fn ready(layout: Layout) -> Result<(Daemon, Fixture)> {
    let fixture = Fixture::get(layout, Fault::None)?;
    let first = fixture.spawn()?;
    let daemon = Daemon::start(&[])?;
    acquainted(&daemon, first.pid())?;
    Ok((daemon, fixture))
}

/// Each by its own allocator, and all who held the chip's memory.
#[test]
fn who_held_the_rest() -> Result<()> {
    let _alone = HISTORY.write().unwrap_or_else(PoisonError::into_inner);
    for layout in BOTH {
        let (daemon, fixture) = ready(layout)?;
        let mut others: Vec<Driver> = (0..2).map(|_| fixture.spawn()).collect::<Result<_>>()?;
        let mut held = Vec::new();
        for (nth, other) in others.iter_mut().enumerate() {
            other.ask("open first 23")?;
            let size = 2_097_152 * (nth + 1);
            let answer = other.ask(&format!("alloc a DRAM {size} 2048"))?;
            held.push((other.pid(), number(&answer, "truth", 23, "DRAM")));
        }
        let mut driver = fixture.spawn()?;
        driver.ask("open first 23")?;
        driver.ask("alloc a DRAM 65536 4096")?;
        driver.ask("alloc b DRAM 65536 4096")?;
        let before = driver.ask("free a")?;
        held.push((driver.pid(), number(&before, "truth", 23, "DRAM")));
        held.reverse();
        held.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        driver.ask("oom")?;
        // Its own end does not change what is told of the failure.
        driver.ask("close")?;
        let failure = failures(&daemon, driver.pid(), 1)?.remove(0);
        let told: Vec<_> = failure
            .holders
            .iter()
            .map(|holder| (holder.pid, holder.charged_bytes))
            .collect();
        assert_eq!(told, held);
        let capacity = number(&before, "capacity", 23, "DRAM");
        let own = number(&before, "truth", 23, "DRAM");
        assert_eq!(failure.free_bytes, Some(capacity - own));
        let largest = number(&before, "largest_free_per_bank", 23, "DRAM");
        assert_eq!(failure.largest_free_bytes_per_bank, Some(largest));
    }
    Ok(())
}

fn ending(daemon: &Daemon, pid: u32) -> Result<Ending> {
    daemon.wait_for("the ending", |snapshot| {
        snapshot.endings.iter().find(|one| one.pid == pid).cloned()
    })
}

fn held(ending: &Ending, chip: i64, pool: &str) -> u64 {
    ending
        .held
        .iter()
        .filter(|row| row.device == Some(chip) && row.pool == pool)
        .filter_map(|row| row.charged_bytes)
        .sum()
}

#[test]
fn who_ended_holding_memory() -> Result<()> {
    let version = lab::versions()?.pop().context("no release")?;
    let daemon = Daemon::start(&[])?;
    let sizes = ["--mesh", "1x2", "64", "L1:1"];
    let mut killed = Workload::start(&version, "hold.py", &sizes)?;
    let step = killed.expect_step()?;
    // Of one that is killed before anybody could look at it, the chips are not known.
    daemon.snapshot()?;
    killed.kill()?;
    let ending = ending(&daemon, step.pid)?;
    for (chip, pools) in &step.truth {
        for (pool, bytes) in pools {
            assert_eq!(held(&ending, *chip, pool), *bytes, "chip {chip} {pool}");
        }
    }
    let mut orderly = Workload::start(&version, "hold.py", &sizes)?;
    let step = orderly.expect_step()?;
    while orderly.step()?.is_some() {}
    orderly.wait()?;
    let endings = daemon.wait_for("its end", |snapshot| {
        snapshot
            .processes
            .iter()
            .any(|one| one.pid == step.pid && one.state == "exited")
            .then(|| snapshot.endings.clone())
    })?;
    ensure!(
        endings.iter().all(|one| one.pid != step.pid),
        "{endings:#?}"
    );
    Ok(())
}

fn snapshot(observation: &Observation) -> Result<Snapshot> {
    let (reply, answer) = oneshot::channel();
    let filter = Filter::default();
    observation
        .requests
        .blocking_send(Request { filter, reply })?;
    answer.blocking_recv().context("no snapshot")
}

/// While another process allocates all the time: the observer goes on with its work.
#[test]
fn a_million_live_allocations() -> Result<()> {
    let _alone = HISTORY.write().unwrap_or_else(PoisonError::into_inner);
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let mut driver = fixture.spawn()?;
    let observation = observe()?;
    driver.patience = Duration::from_secs(120);
    let answer = driver.ask("leak 1000000 64")?;
    let mut busy = fixture.spawn()?;
    busy.ask("alloc a DRAM 4096 4096")?;
    busy.tell("burst 300000 threads 1")?;
    for (what, ask) in [
        ("all of one process", of(driver.pid(), "DRAM")),
        ("those of one that has two", of(busy.pid(), "DRAM")),
    ] {
        let start = Instant::now();
        let (found, answered, longest) = thread::scope(|scope| {
            let listing =
                scope.spawn(|| list(&observation, ask).map(|list| (list, start.elapsed())));
            let (mut answered, mut longest) = (0, Duration::ZERO);
            while !listing.is_finished() {
                let asked = Instant::now();
                snapshot(&observation)?;
                longest = longest.max(asked.elapsed());
                answered += 1;
            }
            let listed = listing.join().ok().context("the list")??;
            anyhow::Ok((listed, answered, longest))
        })?;
        let (found, took) = found;
        println!(
            "{what}: {} listed and {} omitted in {took:?}; {answered} snapshots meanwhile, the slowest in {longest:?}",
            found.allocations.len(),
            found.omitted
        );
        ensure!(answered >= 3, "the observer was held up");
    }
    busy.answer()?;
    let found = list(&observation, of(driver.pid(), "DRAM"))?;
    let live = number(&answer, "live", 0, "DRAM");
    assert_eq!(found.allocations.len() as u64 + found.omitted, live);
    let listed: u64 = found
        .allocations
        .iter()
        .filter_map(|one| one.charged_bytes)
        .sum();
    let truth = number(&answer, "truth", 0, "DRAM");
    assert_eq!(listed + found.omitted_bytes, truth);
    observation.stop();
    Ok(())
}
