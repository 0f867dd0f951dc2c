//! Programs on the real runtime, on mock devices.

use std::{
    collections::BTreeMap, os::unix::process::CommandExt as _, thread::sleep, time::Duration,
};

use anyhow::{Result, ensure};
use memmon::tables::snapshot::{Process, Usage};
use memmon_tests::lab::{self, Step, Workload};
use serde_json::Value;

use crate::{Stage, chance::Chance, fixture_loads::Compared};

/// A number of each chip and pool.
type Numbers = BTreeMap<(i64, String), u64>;

/// What the programs' allocator says: charged bytes, and failures. What the programs know of their own tensors, which
/// stand on top of what the runtime has for itself: how many, and how many bytes were asked for.
#[derive(Default)]
struct Reference {
    /// When nothing of its own was held: what the runtime itself has.
    live: Numbers,
    requested: Numbers,
}

fn row<'a>(process: &'a Process, chip: i64, pool: &str) -> Option<&'a Usage> {
    let mut rows = process.usage.iter().flatten();
    rows.find(|row| row.device == Some(chip) && row.pool == pool)
}

impl Reference {
    fn compare(&mut self, process: &Process, step: &Step) -> Result<Compared> {
        ensure!(process.usage.is_some(), "its usage is not known");
        let mut numbers = 0;
        for row in process.usage.iter().flatten() {
            ensure!(row.exact, "{row:?} is not exact");
            ensure!(
                row.device.is_some_and(|id| step.truth.contains_key(&id)),
                "{row:?} is of no device that it has"
            );
        }
        for (chip, pools) in &step.truth {
            for (pool, truth) in pools {
                let seen = row(process, *chip, pool).map_or(Some(0), |row| row.charged_bytes);
                ensure!(
                    seen == Some(*truth),
                    "chip {chip} {pool}: memmon says {seen:?}, the runtime {truth}; {:#?}",
                    process.usage
                );
                numbers += 1;
                numbers += self.own(process, step, *chip, pool)?;
            }
            if process.since == "start" {
                let rows = process.usage.iter().flatten();
                let failed: u64 = rows
                    .filter(|row| row.device == Some(*chip))
                    .filter_map(|row| row.failed_allocations)
                    .sum();
                ensure!(
                    failed == step.failed,
                    "chip {chip}: memmon counts {failed} failures, the program {}",
                    step.failed
                );
                numbers += 1;
            }
        }
        Ok(Compared {
            numbers,
            unplaced: 0,
        })
    }

    /// Where the program says what its own tensors are.
    fn own(&mut self, process: &Process, step: &Step, chip: i64, pool: &str) -> Result<u64> {
        if !step.said["live"].is_object() {
            return Ok(0);
        }
        let told = |what: &str| step.said[what][pool].as_u64().unwrap_or(0);
        let row = row(process, chip, pool);
        let seen = |what: fn(&Usage) -> Option<u64>| row.map_or(Some(0), what).unwrap_or(u64::MAX);
        let key = (chip, pool.to_owned());
        for (what, seen, base) in [
            ("live", seen(|row| row.live_allocations), &mut self.live),
            (
                "requested",
                seen(|row| row.requested_bytes),
                &mut self.requested,
            ),
        ] {
            if step.name == "open" {
                base.insert(key.clone(), seen);
                continue;
            }
            let expected = base.get(&key).copied().unwrap_or(0) + told(what);
            ensure!(
                seen == expected,
                "chip {chip} {pool} {what}: memmon says {seen}, the program has {expected}; {:#?}",
                process.usage
            );
        }
        Ok(if step.name == "open" { 0 } else { 2 })
    }
}

fn start(version: &str, script: &str, args: &[&str]) -> Result<Workload> {
    let mut command = lab::command(version, script, args)?;
    command.process_group(0);
    Workload::spawn(command)
}

/// A workload that says at each step what it has; again and again. Some are killed at a step.
pub fn follow(
    stage: &Stage,
    version: &str,
    script: &str,
    args: &[&str],
    dies: bool,
    seed: u64,
) -> Result<()> {
    let load = [&["ttnn", version, script], args].concat().join(" ");
    let mut chance = Chance::new(seed);
    while !stage.is_over() {
        stage.judge.started(&load);
        let seed = chance.between(1, 1 << 20).to_string();
        let words: Vec<&str> = match script {
            "soak.py" => [args, &["--seed", &seed]].concat(),
            _ => args.to_vec(),
        };
        let mut workload = start(version, script, &words)?;
        let mut reference = Reference::default();
        let mut killed = false;
        while let Some(step) = workload.step()? {
            stage.judge.running(&load, &step.name, step.pid, |process| {
                reference.compare(process, &step)
            });
            // One that never held anything is not told of when it has ended.
            let has_begun = !["open", "closed"].contains(&step.name.as_str());
            if dies && has_begun && chance.once_in(15) {
                workload.kill()?;
                killed = true;
                stage.judge.ended(&load, "kill -9", step.pid, |process| {
                    reference.compare(process, &step)
                });
                break;
            }
            if stage.is_over() {
                // Its input ends: it runs on to its end without waiting.
                break;
            }
            sleep(Duration::from_millis(chance.between(0, 100)));
        }
        let over = stage.is_over();
        if over {
            workload.kill()?;
        } else if !killed {
            let status = workload.wait()?;
            ensure!(status.success(), "{load}: {status}");
        }
    }
    Ok(())
}

/// A child frees what it inherited; the parent still holds it.
pub fn forks(stage: &Stage, version: &str) -> Result<()> {
    let load = format!("ttnn {version} fork.py");
    while !stage.is_over() {
        stage.judge.started(&load);
        let mut workload = start(version, "fork.py", &[])?;
        let mut reference = Reference::default();
        while let Some(step) = workload.step()? {
            if step.said["step"] == Value::Null {
                continue;
            }
            stage.judge.running(&load, &step.name, step.pid, |process| {
                reference.compare(process, &step)
            });
        }
        workload.wait()?;
    }
    Ok(())
}
