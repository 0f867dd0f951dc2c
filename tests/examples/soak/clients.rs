//! Those who look: they come and go while all the rest goes on.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::Snapshot;
use memmon_tests::{
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{self as program, Ward},
    recorder::{self, Recorder},
    screen::Screen,
};

use crate::{Stage, chance::Chance, fixture_loads};

fn command(stage: &Stage, words: &[&str]) -> Command {
    let mut command = program::command(words);
    command
        .arg("--socket")
        .arg(stage.judge.socket())
        .process_group(0)
        .stdin(Stdio::null());
    command
}

/// One client after another, of every kind.
pub fn come_and_go(stage: &Stage, metrics: u16, seed: u64) -> Result<()> {
    let mut chance = Chance::new(seed);
    while !stage.is_over() {
        let (kind, result) = match chance.between(0, 3) {
            0 => ("client: -q", query(stage, &mut chance)),
            1 => ("client: a stream", stream(stage, &mut chance)),
            2 => ("client: a scrape", scrape(metrics)),
            _ => ("client: the live view", view(stage, &mut chance)),
        };
        stage.judge.started(kind);
        if let Err(error) = result {
            stage.judge.failed(kind, &error);
        }
        sleep(Duration::from_millis(chance.between(100, 2000)));
    }
    Ok(())
}

fn query(stage: &Stage, chance: &mut Chance) -> Result<()> {
    let formats = ["table", "json", "csv", "openmetrics"];
    let format = chance.of(&formats).unwrap_or(&"table");
    let output = command(stage, &["-q", "--format", format]).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

fn stream(stage: &Stage, chance: &mut Chance) -> Result<()> {
    let mut child = command(stage, &["-r", "200", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("its output")?;
    let child = Ward(child);
    let count = usize::try_from(chance.between(1, 30))?;
    let mut lines = 0;
    for line in BufReader::new(output).lines().take(count) {
        serde_json::from_str::<Snapshot>(&line?).context("a line of the stream")?;
        lines += 1;
        if stage.is_over() {
            break;
        }
    }
    ensure!(lines > 0, "it said nothing");
    drop(child);
    Ok(())
}

fn scrape(port: u16) -> Result<()> {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let text = ureq::get(&url).call()?.body_mut().read_to_string()?;
    ensure!(text.contains("memmon_charged_bytes"), "{text}");
    Ok(())
}

fn view(stage: &Stage, chance: &mut Chance) -> Result<()> {
    let mut command = program::command(["-r", "200", "--socket"]);
    command.arg(stage.judge.socket());
    let mut screen = Screen::start(command, (160, 40))?;
    screen.until_shown("DRAM")?;
    for _ in 0..chance.between(1, 12) {
        let keys = [
            "1", "2", "3", "4", "g", "\r", "d", "e", "<", ">", "p", "\x1b",
        ];
        screen.press(chance.of(&keys).unwrap_or(&"1"))?;
        sleep(Duration::from_millis(chance.between(50, 700)));
        if stage.is_over() {
            break;
        }
    }
    // Out of whatever was opened.
    screen.press("\x1b")?;
    sleep(Duration::from_millis(300));
    screen.press("\x03")?;
    sleep(Duration::from_secs(1));
    // On a slow machine the first was one key with the one before it.
    let _ = screen.press("\x03");
    screen.ended().map(|_| ())
}

/// A recording, which is a second observer with probes of its own; its end is compared as well.
pub fn recordings(stage: &Stage, seed: u64) -> Result<()> {
    const LOAD: &str = "client: a recording";
    let mut chance = Chance::new(seed);
    while !stage.is_over() {
        stage.judge.started(LOAD);
        let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
        let mut program = Command::new(fixture.driver());
        program.process_group(0);
        let mut driver = Driver::spawn(program)?;
        driver.ask("open first 90")?;
        driver.ask("leak 200 4096")?;
        let pid = driver.pid();
        let mut recorder = Recorder::start(&["-p", &pid.to_string()])?;
        for turn in 0..chance.between(2, 20) {
            driver.ask(&format!("alloc r{turn} DRAM 65536 4096"))?;
            driver.ask("burst 500 threads 2")?;
            sleep(Duration::from_millis(chance.between(0, 400)));
            if stage.is_over() {
                break;
            }
        }
        let answer = driver.ask("report")?;
        stage.judge.running(LOAD, "its program", pid, |process| {
            fixture_loads::compare(process, &answer)
        });
        let (code, said) = recorder.end()?;
        ensure!(code == Some(0), "{code:?}: {said}");
        let result = recorder::snapshot(&recorder.file(), "end").and_then(|snapshot| {
            let mut all = snapshot.processes.iter();
            let process = all
                .find(|process| process.pid == pid)
                .context("it is not in its own recording")?;
            fixture_loads::compare(process, &answer)
        });
        stage.judge.compared(LOAD, "replayed", result);
        driver.finish()?;
        sleep(Duration::from_millis(chance.between(1000, 6000)));
    }
    Ok(())
}
