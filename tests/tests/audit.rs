//! memmon checks itself: its rows against the allocators' own state, on demand and now and then;
//! what differs is put right, and says so.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use memmon::tables::{
    audit::{Report, Verdict},
    snapshot::{NoticeKind, Snapshot, Usage},
};
use memmon_tests::{
    audit::{audit, audit_by, settled},
    check::{agrees, holds, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    lab::{self, Workload},
    memmon::{Daemon, Ward, charged, query, run, usage},
};

const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];

/// A daemon that observes this program alone, and audits when it is told to.
fn alone(driver: &Driver, settings: &[&str]) -> Result<Daemon> {
    let pid = driver.pid().to_string();
    let mut args = vec!["-p", &pid];
    if !settings.contains(&"--audit") {
        args.extend(["--audit", "0"]);
    }
    args.extend(settings);
    Daemon::start(&args)
}

fn dram(snapshot: &Snapshot, pid: u32) -> Result<&Usage> {
    usage(snapshot, pid, 0, "DRAM").context("no DRAM")
}

fn all_agree((report, code): &(Report, i32), context: &str) -> Result<()> {
    ensure!(
        *code == 0 && report.count(Verdict::Agreed) == report.rows.len() as u64,
        "{context}: exit code {code}: {report:#?}"
    );
    ensure!(report.rows.iter().all(|row| !row.rebased), "{report:#?}");
    Ok(())
}

/// So much that to read it once takes longer than an audit usually takes.
#[test]
fn much_is_live() -> Result<()> {
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let daemon = alone(&driver, &[])?;
    let answer = driver.ask("leak 40000 1024")?;
    let report = settled(&daemon)?;
    ensure!(!report.0.rows.is_empty(), "nothing was compared");
    all_agree(&report, "much")?;
    agrees(&daemon, &answer)?;
    Ok(())
}

#[test]
fn idle() -> Result<()> {
    for layout in BOTH {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        let daemon = alone(&driver, &[])?;
        for step in [
            "open chips 2 l1_small 16384 trace 1048576",
            "alloc a DRAM 2097152 2048",
            "alloc b L1 32768 4096 shards 8",
            "alloc c L1_SMALL 4096 64",
            "alloc d TRACE 65536 4096",
            "leak 100 8192",
            "free a",
            "doublefree b",
            "oom",
            "hooked 2",
            "cb 2 4096",
            "freeall",
            "close",
            "reopen",
            "leak 5 4096",
        ] {
            let answer = driver.ask(step)?;
            agrees(&daemon, &answer)?;
            let audited = settled(&daemon)?;
            all_agree(&audited, &format!("{layout:?}, after `{step}`"))?;
            // What the audit compared is what the snapshot shows.
            let (report, _) = &audited;
            let own: i64 = report
                .rows
                .iter()
                .filter(|row| row.pool == "DRAM")
                .filter(|row| row.devices.iter().any(|on| on.device == Some(0)))
                .filter_map(|row| row.allocator)
                .map(|numbers| numbers.charged_bytes)
                .sum();
            assert_eq!(
                own.unsigned_abs(),
                number(&answer, "truth", 0, "DRAM"),
                "{step}"
            );
        }
        let health = daemon.snapshot()?.health;
        let latest = health.audit.context("no audit in health")?;
        ensure!(latest.audits >= 15 && latest.rows > 0, "{latest:?}");
        assert_eq!((latest.differed, latest.differed_in_all), (0, 0));
        assert_eq!(health.unknown_frees, 0);
    }
    Ok(())
}

/// It allocates and frees in five threads all the while: what cannot be told is said to be
/// unsettled, and nothing is said to differ that does not.
#[test]
fn allocating_all_the_while() -> Result<()> {
    for layout in BOTH {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        driver.ask("leak 300 8192")?;
        let daemon = alone(&driver, &[])?;
        let mut audits = 0;
        let mut agreed = 0;
        for _ in 0..3 {
            driver.tell("threads 3 2 count 60000 keep 300")?;
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until {
                let (report, code) = audit(&daemon)?;
                ensure!(
                    code == 0 && report.count(Verdict::Differed) == 0,
                    "{layout:?}: a false alarm: {report:#?}"
                );
                audits += 1;
                agreed += report.count(Verdict::Agreed);
            }
            let answer = driver.answer()?;
            agrees(&daemon, &answer)?;
            let answer = driver.ask("freeall")?;
            agrees(&daemon, &answer)?;
            all_agree(&settled(&daemon)?, "afterwards")?;
        }
        ensure!(audits > 5 && agreed > 0, "{audits} audits, {agreed} rows");
        assert_eq!(daemon.snapshot()?.health.unknown_frees, 0);
    }
    Ok(())
}

/// The map of live allocations is full, so ends are missed and totals go wrong; the row says so.
/// Once there is room again an audit makes it right, to the byte, and it is exact from then on.
#[test]
fn what_did_not_fit_is_put_right() -> Result<()> {
    for layout in BOTH {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        let pid = driver.pid();
        let daemon = alone(&driver, &["--live-entries", "16"])?;
        let answer = driver.ask("leak 200 4096")?;
        // The sums are right, but their ends will not be known: that cannot be put right yet.
        let (report, code) = settled(&daemon)?;
        assert_eq!((report.count(Verdict::Differed), code), (0, 0));
        let snapshot = daemon.snapshot()?;
        let row = dram(&snapshot, pid)?;
        ensure!(!row.exact, "{row:?}");
        assert_eq!(row.charged_bytes, Some(number(&answer, "truth", 0, "DRAM")));

        let answer = driver.ask("freeall")?;
        let snapshot = daemon.snapshot()?;
        let row = dram(&snapshot, pid)?;
        ensure!(!row.exact && row.charged_bytes != Some(0), "{row:?}");
        let (report, code) = settled(&daemon)?;
        assert_eq!(code, 1, "{report:#?}");
        let differed: Vec<_> = report
            .rows
            .iter()
            .filter(|row| row.verdict == Verdict::Differed)
            .collect();
        let [row] = differed.as_slice() else {
            bail!("one row differs: {report:#?}");
        };
        ensure!(row.rebased && row.pool == "DRAM", "{row:?}");
        assert_eq!(row.allocator.context("its numbers")?.live_allocations, 0);
        assert_eq!(row.ledger.live_allocations, 184);

        let snapshot = agrees(&daemon, &answer)?;
        let row = dram(&snapshot, pid)?;
        assert_eq!((row.rebased, row.exact), (1, true), "{row:?}");
        assert_eq!(snapshot.health.inexact_rows, 0);
        let latest = snapshot.health.audit.context("no audit in health")?;
        assert_eq!((latest.differed, latest.unsettled), (1, 0));
        let notices = snapshot
            .notices
            .iter()
            .filter(|n| n.kind == NoticeKind::Audit);
        assert_eq!(notices.count(), 1, "{:?}", snapshot.notices);
        // And it stays right.
        for step in [
            "leak 8 4096",
            "alloc a DRAM 2097152 2048",
            "freeall",
            "leak 2 4096",
        ] {
            agrees(&daemon, &driver.ask(step)?).with_context(|| step.to_owned())?;
        }
        all_agree(&settled(&daemon)?, "in the end")?;
    }
    Ok(())
}

/// More is live than fits when memmon comes: it counts all the same, and is not said to be exact.
#[test]
fn what_did_not_fit_when_memmon_came() -> Result<()> {
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let answer = driver.ask("leak 200 4096")?;
    let daemon = alone(&driver, &["--live-entries", "16"])?;
    let snapshot = daemon.snapshot()?;
    let row = dram(&snapshot, driver.pid())?;
    assert_eq!(row.charged_bytes, Some(number(&answer, "truth", 0, "DRAM")));
    assert_eq!(row.live_allocations, Some(200));
    ensure!(!row.exact, "{row:?}");
    let answer = driver.ask("freeall")?;
    settled(&daemon)?;
    agrees(&daemon, &answer)?;
    Ok(())
}

/// A thread died when its bytes were taken and no buffer was there to show for them.
#[test]
fn what_a_dead_thread_took_is_found() -> Result<()> {
    for layout in BOTH {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        let pid = driver.pid();
        let daemon = alone(&driver, &[])?;
        driver.ask("alloc a DRAM 65536 4096")?;
        let answer = driver.ask("thread_exit_mid late")?;
        ensure!(answer["orphaned"].as_u64() > Some(0));
        ensure!(!dram(&daemon.snapshot()?, pid)?.exact);
        let (report, code) = settled(&daemon)?;
        assert_eq!(code, 1, "{report:#?}");
        let snapshot = agrees(&daemon, &answer)?;
        assert_eq!(dram(&snapshot, pid)?.rebased, 1);
        agrees(&daemon, &driver.ask("leak 3 4096")?)?;
        all_agree(&settled(&daemon)?, "afterwards")?;
        // One that took nothing leaves no doubt once it was looked into.
        let answer = driver.ask("thread_exit_mid")?;
        ensure!(!dram(&daemon.snapshot()?, pid)?.exact);
        all_agree(&settled(&daemon)?, "nothing was taken")?;
        let snapshot = agrees(&daemon, &answer)?;
        assert_eq!(dram(&snapshot, pid)?.rebased, 1);
    }
    Ok(())
}

/// Now and then, without being asked.
#[test]
fn every_so_often() -> Result<()> {
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let daemon = alone(&driver, &["--audit", "0.1", "--live-entries", "16"])?;
    driver.ask("leak 40 4096")?;
    let answer = driver.ask("freeall")?;
    daemon.wait_for("an audit that puts it right", |snapshot| {
        let audit = snapshot.health.audit.as_ref()?;
        let process = running(snapshot, driver.pid())?;
        (audit.audits >= 2 && audit.differed_in_all >= 1 && holds(process, &answer).is_ok())
            .then_some(())
    })
}

#[test]
fn without_a_daemon() -> Result<()> {
    for layout in BOTH {
        let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
        driver.ask("open chips 2")?;
        let answer = driver.ask("leak 50 4096")?;
        let pid = driver.pid().to_string();
        // A socket of nobody's own: whatever daemon else runs here is not asked.
        let (report, code) = audit_by(&["--pid", &pid])?;
        assert_eq!(code, 0, "{report:#?}");
        ensure!(
            report.rows.iter().all(|row| row.pid == driver.pid()),
            "{report:#?}"
        );
        let live: i64 = report
            .rows
            .iter()
            .filter_map(|row| row.allocator)
            .map(|numbers| numbers.live_allocations)
            .sum();
        assert_eq!(live.unsigned_abs(), number(&answer, "live", 0, "DRAM"));
        let output = run(&["audit", "--pid", &pid])?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(text.contains("all agree"), "{text}");
    }
    Ok(())
}

#[test]
fn nothing_to_audit() -> Result<()> {
    let other = Ward(Command::new("sleep").arg("60").spawn()?);
    for (pid, code) in [(999_999_999, 4), (other.0.id(), 4)] {
        let output = run(&["audit", "--pid", &pid.to_string()])?;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = run(&["audit", "--socket", "/nowhere/at/all"])?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

/// The real runtime allocates and frees, with operations in between, as fast as it can.
#[test]
fn real_runtime_at_work() -> Result<()> {
    for version in lab::versions()? {
        let words = ["--seconds", "3", "--pause", "0", "--most", "4"];
        let mut workload = Workload::start(&version, "churn.py", &words)?;
        let pid = workload.expect_step()?.pid.to_string();
        let daemon = Daemon::start(&["-p", &pid, "--audit", "0"])?;
        let mut agreed = 0;
        std::thread::scope(|scope| -> Result<()> {
            let work = scope.spawn(move || workload.step().map(|_| workload.wait()));
            while !work.is_finished() {
                let (report, code) = audit(&daemon)?;
                ensure!(code == 0, "{version}: a false alarm: {report:#?}");
                agreed += report.count(Verdict::Agreed);
            }
            Ok(())
        })?;
        ensure!(agreed > 0, "{version}: no row ever held still");
    }
    Ok(())
}

/// The real runtime: idle, allocating all the while, and with what came before memmon.
#[test]
fn real_runtime() -> Result<()> {
    for version in lab::versions()? {
        let mut workload = Workload::start(&version, "hold.py", &["64", "32", "L1:1"])?;
        let step = workload.expect_step()?;
        let pid = step.pid.to_string();
        let daemon = Daemon::start(&["-p", &pid, "--audit", "0"])?;
        all_agree(&settled(&daemon)?, &version)?;
        let snapshot = daemon.snapshot()?;
        assert_eq!(
            charged(&snapshot, step.pid, 0, "DRAM"),
            step.truth
                .get(&0)
                .and_then(|pools| pools.get("DRAM"))
                .copied()
        );
        let step = workload.expect_step()?;
        let snapshot = daemon.snapshot()?;
        assert_eq!(
            charged(&snapshot, step.pid, 0, "DRAM"),
            step.truth
                .get(&0)
                .and_then(|pools| pools.get("DRAM"))
                .copied()
        );
        all_agree(&settled(&daemon)?, &version)?;
        let one_look = query(&["-p", &pid])?;
        assert_eq!(
            charged(&one_look, step.pid, 0, "DRAM"),
            step.truth
                .get(&0)
                .and_then(|pools| pools.get("DRAM"))
                .copied()
        );
    }
    Ok(())
}
