//! Runtimes on top of one another, references, contexts of threads, and frees that fail: the driver of `tests/layers` and
//! what lies on it. The judge is what the program itself wrote down.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use memmon::{
    observe::{Observation, Options, Runtimes},
    tables::live::{Inspect, LiveAsk},
};
use memmon_tests::{
    c::{cc, source},
    memmon::{Daemon, Ward, process},
};
use tokio::sync::oneshot;

fn build(dir: &Path) -> Result<()> {
    let [lower, upper, program] =
        ["lower", "upper", "program"].map(|name| source(&format!("layers/{name}.c")));
    for (library, from, needs) in [
        ("liblower.so.1", &lower, None),
        ("libupper.so.1", &upper, Some("./liblower.so.1")),
    ] {
        let soname = format!("-Wl,-soname,{library}");
        let mut args = vec!["-shared", "-fPIC", &soname, "-o", library, from];
        args.extend(needs);
        cc(dir, &args)?;
    }
    let libraries = ["./libupper.so.1", "./liblower.so.1", "-Wl,-rpath,$ORIGIN"];
    cc(
        dir,
        &[&["-o", "program", &program][..], &libraries].concat(),
    )
}

fn profiles() -> [PathBuf; 2] {
    ["lower", "upper"].map(|name| source(&format!("profiles/layers-{name}.toml")).into())
}

/// Key, bytes, device, function.
type Live = (u64, u64, i64, String);

/// The program, waiting, and what it holds.
fn start(dir: &Path) -> Result<(Child, BTreeSet<Live>)> {
    let mut child = Command::new(dir.join("program"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut live = BTreeSet::new();
    for line in BufReader::new(child.stdout.take().context("stdout")?).lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["live", key, bytes, device, api] => {
                live.insert((
                    key.parse()?,
                    bytes.parse()?,
                    device.parse()?,
                    api.to_owned(),
                ));
            }
            ["end", refused, failed] => {
                assert_eq!((refused, failed), ("2", "4"), "the program itself");
                return Ok((child, live));
            }
            _ => anyhow::bail!("the program said {line}"),
        }
    }
    anyhow::bail!("the program ended")
}

#[test]
fn one_byte_one_count() -> Result<()> {
    let dir = tempfile::tempdir()?;
    build(dir.path())?;
    let (first, _) = start(dir.path())?;
    let _first = Ward(first);
    let [lower, upper] = profiles();
    let runtimes = Runtimes::load(&[lower, upper], &["lower".to_owned(), "upper".to_owned()])
        .map_err(anyhow::Error::msg)?;
    let options = Options::default();
    let observation = Observation::start(options, runtimes, Duration::from_millis(100))?;
    std::thread::sleep(Duration::from_millis(300));
    let (program, truth) = start(dir.path())?;
    let program = Ward(program);
    let pid = program.0.id();

    let (reply, answer) = oneshot::channel();
    let ask = LiveAsk {
        pids: vec![pid],
        ..LiveAsk::default()
    };
    observation
        .inspections()
        .blocking_send(Inspect { ask, reply })?;
    let list = answer.blocking_recv().context("no list")?;
    let found: BTreeSet<Live> = list
        .allocations
        .iter()
        .map(|one| {
            ensure!(one.runtime == "lower", "counted by {}", one.runtime);
            let device = one.devices.first().and_then(|device| device.device);
            let api = one.api.clone().context("no function")?;
            Ok((
                one.key,
                one.requested_bytes,
                device.context("no device")?,
                api,
            ))
        })
        .collect::<Result<_>>()?;
    assert_eq!(found, truth);
    Ok(())
}

#[test]
fn totals_failures_and_refused_frees() -> Result<()> {
    let dir = tempfile::tempdir()?;
    build(dir.path())?;
    let (first, _) = start(dir.path())?;
    let _first = Ward(first);
    let [lower, upper] = profiles().map(|path| path.display().to_string());
    let daemon = Daemon::start(&["--profile", &lower, "--profile", &upper])?;
    std::thread::sleep(Duration::from_millis(30));
    let (program, truth) = start(dir.path())?;
    let program = Ward(program);
    let snapshot = daemon.snapshot()?;
    let seen = process(&snapshot, program.0.id()).context("the program")?;
    assert_eq!(seen.since, "start");
    let rows = seen.usage.as_ref().context("its usage")?;
    for device in [0, 1] {
        let row = rows
            .iter()
            .find(|row| row.runtime == "lower" && row.device == Some(device))
            .context("a row")?;
        let held = truth.iter().filter(|(_, _, on, _)| *on == device);
        let (bytes, count) = held.fold((0, 0), |(sum, n), (_, bytes, ..)| (sum + bytes, n + 1));
        assert_eq!(
            (row.requested_bytes, row.charged_bytes),
            (Some(bytes), Some(bytes))
        );
        assert_eq!(row.live_allocations, Some(count));
        assert!(row.exact);
        // 60 each; in the first context two more, of which one was let go of.
        let (allocations, frees) = if device == 0 { (62, 31) } else { (60, 30) };
        assert_eq!(
            (row.allocations, row.frees),
            (Some(allocations), Some(frees))
        );
    }
    let upper = rows
        .iter()
        .find(|row| row.runtime == "upper")
        .context("its failure")?;
    assert_eq!(
        (
            upper.charged_bytes,
            upper.live_allocations,
            upper.failed_allocations
        ),
        (Some(0), Some(0), Some(1))
    );
    let failed: Vec<_> = snapshot
        .failures
        .iter()
        .filter(|failure| failure.pid == program.0.id())
        .map(|failure| {
            (
                failure.runtime.as_str(),
                failure.api.as_deref().unwrap_or_default(),
                failure.error_code,
                failure.requested_bytes,
            )
        })
        .collect();
    assert_eq!(
        failed,
        [
            ("upper", "up_alloc", Some(35), 0),
            ("lower", "up_alloc", Some(2), 1 << 40),
            ("lower", "low_alloc", Some(2), 1 << 41),
            ("lower", "low_alloc", Some(-3), 4),
        ]
    );
    assert_eq!(snapshot.health.failed_frees, 2);
    assert_eq!(snapshot.health.unknown_frees, 0);
    Ok(())
}
