//! The full-screen view: the real binary on a pseudo-terminal, driven by keys and the mouse. What can be read on its
//! screen is compared with what the workloads say of themselves.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    fixture::{Driver, Fault, Fixture, Layout, number},
    lab::{self, Workload},
    memmon,
    screen::Screen,
};

const WIDE: (u16, u16) = (220, 40);

fn view(pids: &[u32], size: (u16, u16)) -> Result<Screen> {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let command = memmon::command(["-r", "200", "-p", &pids.join(",")]);
    Screen::start(command, size)
}

/// As the view writes exact bytes: `1,234,567`.
fn grouped(bytes: u64) -> String {
    let digits = bytes.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

/// The words of the row of a process.
fn row(screen: &Screen, pid: u32) -> Vec<String> {
    let pid = pid.to_string();
    let text = screen.text();
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect());
    let mut rows = rows.filter(|words: &Vec<String>| words.first() == Some(&pid));
    rows.next().unwrap_or_default()
}

fn until_row(
    screen: &Screen,
    pid: u32,
    what: &str,
    wanted: impl Fn(&[String]) -> bool,
) -> Result<()> {
    screen.until(what, |_| wanted(&row(screen, pid)))
}

/// The pids of the rows, from the top.
fn order(screen: &Screen, of: &[u32]) -> Vec<u32> {
    let text = screen.text();
    let firsts = text
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok());
    firsts.filter(|pid| of.contains(pid)).collect()
}

fn start(layout: Layout, commands: &[&str]) -> Result<Driver> {
    let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
    for command in commands {
        driver.ask(command)?;
    }
    Ok(driver)
}

/// A big one and a small one.
fn pair() -> Result<[Driver; 2]> {
    Ok([
        start(
            Layout::Pimpl,
            &[
                "open l1_small 16384 trace 1048576",
                "alloc a DRAM 67108864 2048",
                "alloc b L1 32768 4096",
                "alloc c L1_SMALL 4096 64",
                "alloc d TRACE 65536 4096",
            ],
        )?,
        start(Layout::Inline, &["alloc a DRAM 2097152 2048"])?,
    ])
}

#[test]
fn the_screen_says_what_the_workloads_say() -> Result<()> {
    let [mut big, small] = pair()?;
    let truth = big.ask("report")?;
    let mut screen = view(&[big.pid(), small.pid()], WIDE)?;
    screen.until_shown(&small.pid().to_string())?;
    screen.press("u")?;
    for pool in ["DRAM", "L1", "L1_SMALL", "TRACE"] {
        let bytes = grouped(number(&truth, "truth", 0, pool));
        until_row(&screen, big.pid(), pool, |words| words.contains(&bytes))?;
        ensure!(bytes != "0", "the workload holds {pool}");
    }
    // What happens next is followed.
    let truth = big.ask("alloc e DRAM 12345678 2")?;
    let bytes = grouped(number(&truth, "truth", 0, "DRAM"));
    until_row(&screen, big.pid(), "one more", |words| {
        words.contains(&bytes)
    })?;
    // All pools of this card are full to this part.
    screen.press("uu")?;
    let used = number(&truth, "truth", 0, "DRAM");
    let of = number(&truth, "capacity", 0, "DRAM");
    let share = used * 1000 / of;
    let share = format!("{}.{}%", share / 10, share % 10);
    until_row(&screen, big.pid(), "its share", |words| {
        words.contains(&share)
    })?;
    // The rate: some pairs in a while.
    big.ask("burst 1000")?;
    let moves = |words: &[String]| {
        words.iter().any(|word| {
            word.parse::<f64>()
                .is_ok_and(|rate| (100.0..=5000.0).contains(&rate))
        })
    };
    until_row(&screen, big.pid(), "a rate", moves)?;
    screen.press("q")?;
    ensure!(screen.ended()?.success());
    ensure!(
        screen.is_taken() == (false, false),
        "the terminal is as before"
    );
    Ok(())
}

#[test]
fn sorted_filtered_and_grouped() -> Result<()> {
    let [big, small] = pair()?;
    let pids = [big.pid(), small.pid()];
    let mut screen = view(&pids, WIDE)?;
    let is = |screen: &Screen, expected: &[u32]| {
        screen.until(&format!("{expected:?}"), |_| {
            order(screen, &pids) == expected
        })
    };
    is(&screen, &[big.pid(), small.pid()])?;
    screen.press("r")?;
    is(&screen, &[small.pid(), big.pid()])?;
    ensure!(screen.is_taken() == (true, true), "the mouse is taken");
    screen.click("LIVE")?;
    is(&screen, &[big.pid(), small.pid()])?;
    screen.click("LIVE")?;
    is(&screen, &[small.pid(), big.pid()])?;

    screen.press(&format!("/pid:{}", small.pid()))?;
    is(&screen, &[small.pid()])?;
    screen.until_shown("1 of 2 rows")?;
    screen.press("x")?;
    screen.until_shown("is no pid")?;
    // Esc leaves the typing; alone, for with a letter behind it, it would be another key.
    screen.press("\x1b")?;
    is(&screen, &[small.pid(), big.pid()])?;
    screen.press("/>32M\r")?;
    is(&screen, &[big.pid()])?;
    screen.press("\x1b")?;
    is(&screen, &[small.pid(), big.pid()])?;

    // By device: both stand on one card, which holds the sum.
    screen.press("gg")?;
    screen.until_shown("grouped by device")?;
    is(&screen, &[])?;
    screen.press("e")?;
    is(&screen, &[small.pid(), big.pid()])?;
    screen.press("q")?;
    ensure!(screen.ended()?.success());
    Ok(())
}

#[test]
fn every_page_help_and_size() -> Result<()> {
    let [mut big, small] = pair()?;
    let mut screen = view(&[big.pid(), small.pid()], WIDE)?;
    screen.until_shown(&big.pid().to_string())?;
    big.ask("oom DRAM")?;
    screen.press("?")?;
    screen.until_shown("press ? or Esc to close")?;
    screen.press("?")?;
    // The process: a click selects it, Enter opens it.
    let pid = big.pid().to_string();
    screen.click(&format!("{pid}  root"))?;
    screen.press("\r")?;
    screen.until_shown(&format!("2 process {pid}"))?;
    screen.press("\x1b")?;
    screen.until_shown("COMMAND")?;
    screen.press("d")?;
    screen.until("the device page", |text| text.contains("device 0"))?;
    screen.press("4")?;
    screen.until("the failure", |text| {
        text.contains(&pid) && text.contains("DRAM")
    })?;
    for page in ["1", "2", "3", "4"] {
        screen.press(page)?;
        screen.resize(40, 12)?;
        screen.until("a narrow page", |text| {
            text.lines()
                .next()
                .is_some_and(|line| line.contains("memmon"))
        })?;
        screen.press("?")?;
        screen.until_shown("press ? or Esc")?;
        screen.press("?")?;
        screen.resize(WIDE.0, WIDE.1)?;
    }
    screen.press("1")?;
    screen.until_shown("COMMAND")?;
    // A pause holds what is seen.
    screen.press("p")?;
    screen.until_shown("PAUSED")?;
    let before = row(&screen, small.pid());
    drop(small);
    std::thread::sleep(Duration::from_millis(600));
    let pid: u32 = before.first().context("its row")?.parse()?;
    ensure!(row(&screen, pid) == before);
    screen.press("p")?;
    until_row(&screen, pid, "its end", |words| {
        words.last().is_some_and(|state| state == "exited")
    })?;
    screen.press("q")?;
    ensure!(screen.ended()?.success());
    Ok(())
}

#[test]
fn a_daemon_that_ends_is_said() -> Result<()> {
    let small = start(Layout::Inline, &["alloc a DRAM 2097152 2048"])?;
    let daemon = memmon::Daemon::start(&["-r", "200"])?;
    let mut command = memmon::command(["-r", "200", "--socket"]);
    command.arg(daemon.socket());
    let mut screen = Screen::start(command, WIDE)?;
    screen.until_shown(&small.pid().to_string())?;
    drop(daemon);
    screen.until("the end of the daemon", |text| {
        text.contains("daemon is gone") || text.contains("no more news")
    })?;
    ensure!(
        screen.text().contains(&small.pid().to_string()),
        "the last news stay"
    );
    screen.press("q")?;
    ensure!(screen.ended()?.success());
    Ok(())
}

#[test]
fn on_the_real_runtime() -> Result<()> {
    let version = lab::versions()?.pop().context("a release of ttnn")?;
    let mut workload = Workload::start(&version, "hold.py", &["256", "L1:2"])?;
    let step = workload.expect_step()?;
    let mut screen = view(&[step.pid], WIDE)?;
    screen.press("u")?;
    let truth = step.truth.values().next().context("a chip")?;
    for pool in ["DRAM", "L1"] {
        let bytes = grouped(truth[pool]);
        until_row(&screen, step.pid, pool, |words| words.contains(&bytes))?;
    }
    workload.expect_step()?;
    until_row(&screen, step.pid, "the free", |words| {
        words.iter().any(|word| word == "0")
    })?;
    screen.press("q")?;
    ensure!(screen.ended()?.success());
    Ok(())
}
