//! Programs on the double of the library, which can be made to do everything.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::{Process, Usage};
use memmon_tests::{
    check::{self, POOLS},
    fixture::{Driver, Fault, Fixture, Layout},
};
use serde_json::Value;

use crate::{Stage, chance::Chance};

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    pub numbers: u64,
    /// Rows of which memmon does not know the device: the allocator was gone before it could be looked at.
    pub unplaced: u64,
}

/// Charged, requested and live of each chip and pool; and, where memmon saw all of it, what was allocated, freed and
/// refused.
pub fn compare(process: &Process, answer: &Value) -> Result<Compared> {
    let (process, unplaced) = place(process, answer);
    check::holds(&process, answer)?;
    let chips = answer["truth"].as_object().map_or(0, serde_json::Map::len) as u64;
    let mut numbers = chips * POOLS.len() as u64 * 3;
    if process.since == "start" {
        check::counts(&process, answer)?;
        numbers += chips * 3;
    }
    Ok(Compared { numbers, unplaced })
}

/// Where an allocator was gone before it could be looked at, memmon knows its numbers and not its devices. These
/// programs' allocators have all their chips: what stands on no device stands on each of them.
fn place(process: &Process, answer: &Value) -> (Process, u64) {
    let mut placed = process.clone();
    let Some(usage) = &mut placed.usage else {
        return (placed, 0);
    };
    let unplaced: Vec<Usage> = usage.extract_if(.., |row| row.device.is_none()).collect();
    let told = answer["truth"].as_object().into_iter().flatten();
    let mut chips: BTreeSet<i64> = told.filter_map(|(chip, _)| chip.parse().ok()).collect();
    chips.extend(usage.iter().filter_map(|row| row.device));
    for row in &unplaced {
        for chip in &chips {
            let known = usage
                .iter_mut()
                .find(|known| known.device == Some(*chip) && known.pool == row.pool);
            match known {
                Some(known) => add(known, row),
                None => usage.push(Usage {
                    device: Some(*chip),
                    ..row.clone()
                }),
            }
        }
    }
    (placed, unplaced.len() as u64)
}

fn add(known: &mut Usage, row: &Usage) {
    let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
    known.charged_bytes = sum(known.charged_bytes, row.charged_bytes);
    known.requested_bytes = sum(known.requested_bytes, row.requested_bytes);
    known.live_allocations = sum(known.live_allocations, row.live_allocations);
    known.allocations = sum(known.allocations, row.allocations);
    known.frees = sum(known.frees, row.frees);
    known.failed_allocations = sum(known.failed_allocations, row.failed_allocations);
    known.exact &= row.exact;
}

/// As [`compare`], of a program that may be over before anybody could look at it: then memmon does not vouch for that it
/// had nothing before it was seen. What was seen is all that it did.
fn compare_brief(process: &Process, answer: &Value) -> Result<Compared> {
    let mut process = process.clone();
    if process.since == "attach" {
        for row in process.usage.iter_mut().flatten() {
            row.exact = true;
        }
    }
    compare(&process, answer)
}

/// What it had before memmon knew its library, and freed, nobody can tell of when it has ended.
fn holds_something(answer: &Value) -> bool {
    let chips = answer["live"].as_object().into_iter().flatten();
    let mut pools = chips.flat_map(|(_, pools)| pools.as_object().into_iter().flatten());
    pools.any(|(_, live)| live.as_u64() > Some(0))
}

/// What it held when it had ended, and not what it did.
fn compare_held(process: &Process, answer: &Value) -> Result<Compared> {
    let (process, unplaced) = place(process, answer);
    check::holds(&process, answer)?;
    Ok(Compared {
        numbers: 1,
        unplaced,
    })
}

/// Whether it ever had to do with memory: else memmon says nothing of it when it has ended.
fn ever_held(answer: &Value) -> bool {
    answer["allocations"].as_u64() > Some(0) || answer["failed"].as_u64() > Some(0)
}

/// What a program allocates from, with which page.
const SHAPES: [(&str, u64, u64); 6] = [
    ("DRAM", 2_097_152, 2048),
    ("DRAM", 98_304, 4096),
    ("DRAM", 1_000_000, 1000),
    ("L1", 65_536, 1024),
    ("L1_SMALL", 4096, 64),
    ("TRACE", 16_384, 4096),
];

/// A program, and what it has.
struct Player {
    driver: Driver,
    chips: (u64, u64),
    is_open: bool,
    names: Vec<String>,
    next: u64,
}

impl Player {
    fn start(program: &Path, chips: u64, first: u64) -> Result<Self> {
        let mut player = Self {
            driver: spawn(program)?,
            chips: (chips, first),
            is_open: false,
            names: Vec::new(),
            next: 0,
        };
        player.open()?;
        Ok(player)
    }

    fn open(&mut self) -> Result<Value> {
        let (chips, first) = self.chips;
        self.is_open = true;
        let words = format!("open chips {chips} first {first} l1_small 16384 trace 1048576");
        self.driver.ask(&words)
    }

    /// One thing or another; its answer says how things stand after it.
    fn act(&mut self, chance: &mut Chance) -> Result<Value> {
        if !self.is_open {
            return self.open();
        }
        match chance.between(0, 99) {
            0..=39 => self.allocate(chance),
            40..=64 => self.free(chance),
            65..=69 => self.driver.ask("burst 3000 threads 3"),
            70..=73 => self.driver.ask("threads 4 2 count 60 keep 12"),
            74..=76 => self.driver.ask("leak 60 4096"),
            77..=79 => {
                let pool = chance.of(&["DRAM", "L1", "L1_SMALL"]).unwrap_or(&"DRAM");
                self.driver.ask(&format!("oom {pool}"))
            }
            80..=82 => self.everything("freeall"),
            83..=85 => self.everything("reopen"),
            86 => {
                self.is_open = false;
                self.everything("close")
            }
            87..=90 => self.driver.ask("throw 5"),
            91..=93 => self.driver.ask("hooked 4"),
            94..=96 => self.driver.ask("cb 2 4096"),
            _ => self.driver.ask("cbfree"),
        }
    }

    fn allocate(&mut self, chance: &mut Chance) -> Result<Value> {
        let (pool, most, page) = chance.of(&SHAPES).copied().unwrap_or(SHAPES[0]);
        let size = page * chance.between(1, most / page);
        self.next += 1;
        let name = format!("n{}", self.next);
        self.driver
            .tell(&format!("alloc {name} {pool} {size} {page}"))?;
        let answer = self.driver.answer()?;
        if answer["ok"] == true {
            self.names.push(name);
        } else {
            // It may be full: that is a failure, and counted. A disagreement within the driver is not.
            let reason = answer["error"].as_str().unwrap_or_default();
            ensure!(!reason.contains("the library holds"), "{reason}");
        }
        Ok(answer)
    }

    fn free(&mut self, chance: &mut Chance) -> Result<Value> {
        let Some(name) = chance.of(&self.names).cloned() else {
            return self.driver.ask("report");
        };
        self.names.retain(|other| *other != name);
        let verb = chance.of(&["free", "free", "drop", "doublefree"]);
        self.driver
            .ask(&format!("{} {name}", verb.unwrap_or(&"free")))
    }

    fn everything(&mut self, verb: &str) -> Result<Value> {
        self.names.clear();
        self.driver.ask(verb)
    }
}

/// A program that was just copied is busy as long as a process that another thread is forking has it open.
fn spawn(program: &Path) -> Result<Driver> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let mut command = Command::new(program);
        // Ctrl-C is for this program alone: it ends the others in order.
        command.process_group(0).stderr(Stdio::null());
        match Driver::spawn(command) {
            Err(error) if Instant::now() < until && format!("{error:#}").contains("busy") => {
                sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// A program that does everything, is compared all the while, and ends in one way or another; then the next.
pub fn mixed(stage: &Stage, layout: Layout, chips: u64, first: u64, seed: u64) -> Result<()> {
    let load = format!(
        "fixture, {}, {chips} chip{}: everything",
        name(layout),
        if chips == 1 { "" } else { "s" }
    );
    let mut chance = Chance::new(seed);
    let fixture = Fixture::get(layout, Fault::None)?;
    while !stage.is_over() {
        stage.judge.started(&load);
        let mut player = Player::start(&fixture.driver(), chips, first)?;
        live(stage, &load, &mut player, &mut chance)?;
        end(stage, &load, player, &mut chance, &fixture.driver())?;
    }
    Ok(())
}

fn live(stage: &Stage, load: &str, player: &mut Player, chance: &mut Chance) -> Result<()> {
    let turns = chance.between(20, 150);
    for turn in 0..turns {
        if stage.is_over() {
            break;
        }
        let answer = player.act(chance)?;
        if turn == 0 || chance.once_in(3) {
            stage
                .judge
                .running(load, "a step", player.driver.pid(), |process| {
                    compare(process, &answer)
                });
        }
        if player.is_open && chance.once_in(25) {
            child(stage, load, player, chance)?;
        }
        sleep(Duration::from_millis(chance.between(0, 60)));
    }
    Ok(())
}

/// A forked child, which frees what it inherited, or opens devices of its own.
fn child(stage: &Stage, load: &str, player: &mut Player, chance: &mut Chance) -> Result<()> {
    let opens = chance.once_in(2);
    let verb = if opens { "forkopen" } else { "fork" };
    let answer = player.driver.ask(&format!("{verb} hold 60000"))?;
    let pid = answer["child_pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .context("the child's pid")?;
    if opens {
        stage.judge.running(load, "a child", pid, |process| {
            compare(process, &answer["child"])
        });
    }
    stage
        .judge
        .running(load, "its parent", player.driver.pid(), |process| {
            compare(process, &answer)
        });
    // SAFETY: a signal to a child of our child, which has not waited for it.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
    let answer = player.driver.ask("wait")?;
    stage
        .judge
        .running(load, "after the child", player.driver.pid(), |process| {
            compare(process, &answer)
        });
    Ok(())
}

fn end(
    stage: &Stage,
    load: &str,
    mut player: Player,
    chance: &mut Chance,
    program: &Path,
) -> Result<()> {
    let answer = player.driver.ask("report")?;
    let pid = player.driver.pid();
    let way = match chance.between(0, 3) {
        0 => {
            player.driver.tell("kill9")?;
            player.driver.wait()?;
            "kill -9"
        }
        1 => {
            player.driver.ask("exit 3")?;
            player.driver.wait()?;
            "exit without closing"
        }
        2 => {
            ensure!(player.driver.finish()?.success());
            let closed = serde_json::json!({});
            if ever_held(&answer) {
                stage.judge.ended(load, "the end", pid, |process| {
                    compare_held(process, &closed)
                });
            }
            return Ok(());
        }
        _ => {
            // Another program under the same pid, which ends in its turn.
            player
                .driver
                .ask(&format!("exec {}", program.display()))
                .context("exec")?;
            let mut again = player;
            again.names.clear();
            again.open()?;
            if ever_held(&answer) {
                stage
                    .judge
                    .ended(load, "exec", pid, |process| compare_held(process, &answer));
            }
            live(stage, load, &mut again, chance)?;
            return again.driver.finish().map(|_| ());
        }
    };
    if ever_held(&answer) {
        stage
            .judge
            .ended(load, way, pid, |process| compare(process, &answer));
    }
    Ok(())
}

/// A program with tens of thousands of live allocations.
pub fn hoard(stage: &Stage, layout: Layout, first: u64, seed: u64) -> Result<()> {
    let load = format!("fixture, {}: 50,000 live", name(layout));
    let mut chance = Chance::new(seed);
    let fixture = Fixture::get(layout, Fault::None)?;
    while !stage.is_over() {
        stage.judge.started(&load);
        let mut player = Player::start(&fixture.driver(), 1, first)?;
        for turn in 0..chance.between(4, 12) {
            if stage.is_over() {
                break;
            }
            let answer = match turn {
                0 => player.driver.ask("leak 40000 4096")?,
                _ if chance.once_in(6) => player.everything("freeall")?,
                _ => player
                    .driver
                    .ask(&format!("leak {} 4096", chance.between(10, 5000)))?,
            };
            let pid = player.driver.pid();
            stage
                .judge
                .running(&load, "a step", pid, |process| compare(process, &answer));
            sleep(Duration::from_millis(chance.between(100, 2500)));
        }
        let answer = player.driver.ask("report")?;
        let pid = player.driver.pid();
        player.driver.tell("kill9")?;
        player.driver.wait()?;
        stage
            .judge
            .ended(&load, "kill -9", pid, |process| compare(process, &answer));
    }
    Ok(())
}

/// Many threads that allocate and free as fast as they can.
pub fn bursts(stage: &Stage, layout: Layout, first: u64, seed: u64) -> Result<()> {
    let load = format!("fixture, {}: bursts of 8 threads", name(layout));
    let mut chance = Chance::new(seed);
    let fixture = Fixture::get(layout, Fault::None)?;
    stage.judge.started(&load);
    let mut player = Player::start(&fixture.driver(), 2, first)?;
    while !stage.is_over() {
        let answer = if chance.once_in(3) {
            player
                .driver
                .ask("threads 8 4 count 400 size 4096 keep 100")?;
            player.driver.ask("freeall")?
        } else {
            let pairs = chance.between(1000, 100_000);
            player
                .driver
                .ask(&format!("burst {pairs} threads 8 size 4096"))?
        };
        let pid = player.driver.pid();
        stage.judge.running(&load, "after a burst", pid, |process| {
            compare(process, &answer)
        });
        sleep(Duration::from_millis(chance.between(50, 1500)));
    }
    player.driver.finish().map(|_| ())
}

/// Programs that are over before anybody could look at them, several at a time.
pub fn brief(stage: &Stage, layout: Layout, first: u64, seed: u64) -> Result<()> {
    let load = format!("fixture, {}: short lives", name(layout));
    let mut chance = Chance::new(seed);
    let fixture = Fixture::get(layout, Fault::None)?;
    // Whoever is the first to map a library, and gone at once, is not seen.
    let mut first_one = Player::start(&fixture.driver(), 1, first)?;
    let answer = first_one.driver.ask("report")?;
    while stage
        .judge
        .snapshot(&[check::pid(&answer)])?
        .processes
        .is_empty()
        && !stage.is_over()
    {
        sleep(Duration::from_millis(50));
    }
    while !stage.is_over() {
        let mut children = Vec::new();
        for _ in 0..chance.between(1, 8) {
            stage.judge.started(&load);
            let words = format!(
                "open first {first} , alloc a DRAM 2097152 2048 , alloc b L1 8192 1024 , exit 0"
            );
            let child = Command::new(fixture.driver())
                .args(words.split(' '))
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            children.push(child);
        }
        for child in children {
            let pid = child.id();
            let output = child.wait_with_output()?;
            ensure!(output.status.success(), "{output:?}");
            let said = String::from_utf8_lossy(&output.stdout);
            let last = said.lines().last().context("it said nothing")?;
            let answer: Value = serde_json::from_str(last)?;
            stage.judge.ended(&load, "its end", pid, |process| {
                compare_brief(process, &answer)
            });
        }
        sleep(Duration::from_millis(chance.between(200, 1500)));
    }
    Ok(())
}

/// Programs with a library file of their own, as each container has it, which is gone when they are.
pub fn copies(stage: &Stage, layout: Layout, first: u64, seed: u64) -> Result<()> {
    let load = format!("fixture, {}: its own copy", name(layout));
    let mut chance = Chance::new(seed);
    let fixture = Fixture::get(layout, Fault::None)?;
    while !stage.is_over() {
        let folder = tempfile::Builder::new().prefix("memmon-soak-").tempdir()?;
        for file in [fixture.driver(), fixture.library()] {
            let name = file.file_name().context("a file's name")?;
            fs::copy(&file, folder.path().join(name))?;
        }
        stage.judge.started(&load);
        let mut player = Player::start(&folder.path().join("fixture"), 1, first)?;
        for _ in 0..chance.between(1, 10) {
            let answer = player.act(&mut chance)?;
            let pid = player.driver.pid();
            stage
                .judge
                .running(&load, "a step", pid, |process| compare(process, &answer));
            sleep(Duration::from_millis(chance.between(0, 200)));
        }
        let answer = player.driver.ask("report")?;
        let pid = player.driver.pid();
        if chance.once_in(2) {
            // Deleted while it is mapped.
            drop(folder);
            let answer = player.act(&mut chance)?;
            stage
                .judge
                .running(&load, "deleted", pid, |process| compare(process, &answer));
            player.driver.finish()?;
        } else {
            player.driver.tell("kill9")?;
            player.driver.wait()?;
            if holds_something(&answer) {
                stage
                    .judge
                    .ended(&load, "kill -9", pid, |process| compare(process, &answer));
            }
        }
        sleep(Duration::from_millis(chance.between(500, 3000)));
    }
    Ok(())
}

fn name(layout: Layout) -> &'static str {
    match layout {
        Layout::Inline => "inline",
        Layout::Pimpl => "pimpl",
    }
}
