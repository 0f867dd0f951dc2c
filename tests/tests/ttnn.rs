//! The real runtime, real probes: at every step, memmon's bytes are those of the runtime's own
//! allocator.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Output, Stdio};

use memmon::tables::snapshot::Snapshot;
use memmon_tests::{
    lab::{self, Step, Workload},
    memmon::{self as program, Daemon, charged, process, usage},
};

fn versions() -> Vec<String> {
    lab::versions().unwrap()
}

/// Every pool of every chip, to the byte.
fn compare(snapshot: &Snapshot, step: &Step, context: &str) {
    let mut differences = Vec::new();
    for (chip, pools) in &step.truth {
        for (pool, truth) in pools {
            let seen = charged(snapshot, step.pid, *chip, pool);
            if seen != Some(*truth) {
                differences.push(format!(
                    "chip {chip} {pool}: the runtime says {truth}, memmon {seen:?}"
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{context}, step {}: {differences:#?}\n{:#?}",
        step.name,
        process(snapshot, step.pid)
    );
}

/// Nothing may stand on a chip that the runtime does not name.
fn no_other_devices(snapshot: &Snapshot, step: &Step) {
    for row in process(snapshot, step.pid)
        .and_then(|process| process.usage.as_ref())
        .into_iter()
        .flatten()
    {
        assert!(
            row.device.is_some_and(|id| step.truth.contains_key(&id)),
            "step {}: {row:?}",
            step.name
        );
    }
}

/// Failures of memory, which the workload counts by its exceptions.
fn failed(snapshot: &Snapshot, pid: u32, chip: i64) -> u64 {
    process(snapshot, pid)
        .and_then(|process| process.usage.as_ref())
        .into_iter()
        .flatten()
        .filter(|row| row.device == Some(chip))
        .filter_map(|row| row.failed_allocations)
        .sum()
}

fn follow(daemon: &Daemon, version: &str, script: &str, args: &[&str]) -> usize {
    let context = format!("{version} {script} {args:?}");
    let mut workload = Workload::start(version, script, args).unwrap();
    let mut steps = 0;
    while let Some(step) = workload.step().unwrap() {
        let snapshot = daemon.snapshot().unwrap();
        compare(&snapshot, &step, &context);
        no_other_devices(&snapshot, &step);
        steps += 1;
        if let Some(first) = step.truth.keys().next() {
            assert_eq!(
                failed(&snapshot, step.pid, *first),
                step.failed,
                "{context}, step {}: failures",
                step.name
            );
        }
        let seen = process(&snapshot, step.pid).unwrap();
        assert_eq!(seen.since, "start", "{context}, step {}", step.name);
        assert!(
            seen.usage.iter().flatten().all(|row| row.exact),
            "{context}, step {}: {seen:#?}",
            step.name
        );
        for (chip, pools) in &step.capacity {
            // A closed device has none; memmon remembers what it had.
            for (pool, bytes) in pools.iter().filter(|(_, bytes)| **bytes > 0) {
                let pool_row = snapshot
                    .devices
                    .iter()
                    .filter(|device| device.device == Some(*chip))
                    // Other processes here have their own devices of that number.
                    .filter(|device| {
                        usage(&snapshot, step.pid, *chip, "DRAM")
                            .is_some_and(|row| row.device_uid == device.device_uid)
                    })
                    .flat_map(|device| &device.pools)
                    .find(|row| &row.pool == pool);
                if let Some(row) = pool_row {
                    assert_eq!(row.capacity_bytes, Some(*bytes), "{context}: {pool}");
                }
            }
        }
    }
    assert!(workload.wait().unwrap().success(), "{context}");
    let health = daemon.snapshot().unwrap().health;
    assert_eq!(
        (health.failed_reads, health.unknown_frees),
        (0, 0),
        "{context}"
    );
    steps
}

#[test]
fn every_step_on_one_chip() {
    for version in versions() {
        let daemon = Daemon::start(&[]).unwrap();
        let steps = follow(&daemon, &version, "workload.py", &[]);
        assert!(steps >= 25, "{version}: only {steps} steps");
        println!("ttnn {version}: {steps} steps, 0 mismatches");
    }
}

#[test]
fn every_step_on_a_mesh_of_two_chips_with_submeshes() {
    for version in versions() {
        let daemon = Daemon::start(&[]).unwrap();
        let args = ["--mesh", "1x2", "--submesh"];
        let steps = follow(&daemon, &version, "workload.py", &args);
        assert!(steps >= 25, "{version}: only {steps} steps");
        println!("ttnn {version}: {steps} steps on two chips, 0 mismatches");
    }
}

fn to_the_end(version: &str, script: &str, args: &[&str]) -> Output {
    lab::command(version, script, args)
        .unwrap()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Pids and addresses differ from run to run.
fn without_pids(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["pid"] = serde_json::Value::Null;
        lines.push(value.to_string());
    }
    lines.join("\n")
}

#[test]
fn the_observed_program_is_unharmed() {
    for version in versions() {
        for script in ["workload.py", "oom_uncaught.py", "threads.py"] {
            let alone = to_the_end(&version, script, &[]);
            let daemon = Daemon::start(&[]).unwrap();
            let observed = to_the_end(&version, script, &[]);
            assert_eq!(alone.status, observed.status, "{version} {script}");
            assert_eq!(
                without_pids(&alone),
                without_pids(&observed),
                "{version} {script}"
            );
            let events = daemon.snapshot().unwrap().health.events;
            assert!(events > 0, "{version} {script}: nothing was observed");
        }
    }
}

#[test]
fn threads_forks_and_sudden_ends() {
    for version in versions() {
        let daemon = Daemon::start(&[]).unwrap();
        follow(&daemon, &version, "threads.py", &[]);

        let mut fork = Workload::start(&version, "fork.py", &[]).unwrap();
        while let Some(step) = fork.step().unwrap() {
            compare(&daemon.snapshot().unwrap(), &step, "fork.py");
        }
        let health = daemon.snapshot().unwrap().health;
        assert_eq!(
            health.unknown_frees, 0,
            "{version}: frees of what was inherited"
        );

        let mut hold = Workload::start(&version, "hold.py", &["64", "L1:1"]).unwrap();
        let step = hold.expect_step().unwrap();
        compare(&daemon.snapshot().unwrap(), &step, "hold.py");
        hold.kill().unwrap();
        let dead = daemon
            .wait_for("the killed process", |snapshot| {
                let found = process(snapshot, step.pid)?;
                (found.state == "exited").then(|| snapshot.clone())
            })
            .unwrap();
        // What it held when it ended is still said; no device holds it any more.
        compare(&dead, &step, "hold.py, killed");
        let uid = usage(&dead, step.pid, 0, "DRAM")
            .unwrap()
            .device_uid
            .clone();
        assert!(
            !dead
                .devices
                .iter()
                .any(|device| device.device_uid == uid && uid.is_some()),
            "{version}: {:#?}",
            dead.devices
        );
    }
}

#[test]
fn two_releases_at_once() {
    let versions = versions();
    let daemon = Daemon::start(&[]).unwrap();
    let mut first = Workload::start(&versions[0], "hold.py", &["16"]).unwrap();
    let mut second =
        Workload::start(&versions[versions.len() - 1], "hold.py", &["32", "L1:2"]).unwrap();
    let (one, two) = (first.expect_step().unwrap(), second.expect_step().unwrap());
    let snapshot = daemon.snapshot().unwrap();
    compare(&snapshot, &one, "first");
    compare(&snapshot, &two, "second");
    let understood = snapshot
        .libraries
        .iter()
        .filter(|library| library.problem.is_none() && library.probes > 0)
        .count();
    assert!(understood >= 2, "{:#?}", snapshot.libraries);
}

#[test]
fn what_was_held_before() {
    for version in versions() {
        for mesh in ["1x1", "1x2"] {
            let args = ["--mesh", mesh, "48", "8", "L1:1"];
            let mut hold = Workload::start(&version, "hold.py", &args).unwrap();
            let step = hold.expect_step().unwrap();

            let walked = program::query(&["--pid", &step.pid.to_string()]).unwrap();
            compare(&walked, &step, &format!("{version} -q"));
            assert_eq!(process(&walked, step.pid).unwrap().since, "recovered");
            assert_eq!(walked.health.events, 0, "-q places no probe");

            let daemon = Daemon::start(&[]).unwrap();
            let attached = daemon.snapshot().unwrap();
            compare(&attached, &step, &format!("{version} attached late"));
            assert_eq!(process(&attached, step.pid).unwrap().since, "recovered");
            // What was recovered is freed, and known to be.
            let freed = hold.expect_step().unwrap();
            compare(
                &daemon.snapshot().unwrap(),
                &freed,
                &format!("{version} freed"),
            );
            let health = daemon.snapshot().unwrap().health;
            assert_eq!(health.unknown_frees, 0, "{version}");
        }
    }
}
