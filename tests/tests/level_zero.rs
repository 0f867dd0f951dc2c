//! Level Zero on Intel's real driver, which emulates a GPU where it is told to: through the loader, through the tables
//! that the driver hands out, and both ways in one process. The judge is what the program itself wrote down.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    lab::{Step, Workload},
    memmon::{Daemon, process},
    optional::needs,
    raw::Connection,
    record::usage_known,
};
use serde_json::{Value, json};

const LOADER: &str = "/usr/lib/x86_64-linux-gnu/libze_loader.so.1";
const DRIVER: &str = "/usr/lib/x86_64-linux-gnu/libze_intel_gpu.so.1";
/// The driver's functions are counted; where a call comes to none that is known, the loader's.
const COUNTS: &str = "level-zero";
const LABELS: &str = "level-zero-loader";

fn need_driver() -> Result<()> {
    [LOADER, DRIVER]
        .into_iter()
        .try_for_each(|file| needs(Path::new(file)))
}

/// One of `tests/level-zero`, compiled.
fn compiled(dir: &Path, from: &str, name: &str, flags: &[&str]) -> Result<PathBuf> {
    let from = source(&format!("level-zero/{from}"));
    cc(dir, &[flags, &["-o", name, &from]].concat())?;
    Ok(dir.join(name))
}

/// The program, on this many devices that the driver emulates: it writes the commands for one into a file, where it is
/// run.
fn emulated(program: &Path, way: &str, devices: u32) -> Command {
    let mut command = Command::new(program);
    command
        .arg(way)
        .current_dir(program.parent().unwrap_or(Path::new("/tmp")))
        .env("NEOReadDebugKeys", "1")
        .env("SetCommandStreamReceiver", "1")
        .env("ProductFamilyOverride", "dg2")
        .env("CreateMultipleRootDevices", devices.to_string());
    command
}

/// Pool and device → requested bytes, live, allocations, frees, failures.
type Numbers = BTreeMap<(String, Option<i64>), [u64; 5]>;

/// Pool, what its free will name, and bytes.
type One = (String, u64, u64);

/// The program's own books.
#[derive(Debug, Default, PartialEq)]
struct Books {
    numbers: Numbers,
    live: Vec<One>,
    /// Codes of failures, in order.
    errors: Vec<u64>,
}

fn said(step: &Step) -> Result<Books> {
    let device = |number: i64| (number >= 0).then_some(number);
    let mut books = Books::default();
    let rows: Vec<(String, i64, u64, u64, u64)> =
        serde_json::from_value(step.said["rows"].clone())?;
    for (pool, number, allocations, frees, failed) in rows {
        let row = [0, 0, allocations, frees, failed];
        books.numbers.insert((pool, device(number)), row);
    }
    let live: Vec<(String, i64, u64, u64)> = serde_json::from_value(step.said["live"].clone())?;
    for (pool, number, key, size) in live {
        let row = books
            .numbers
            .get_mut(&(pool.clone(), device(number)))
            .context("a row")?;
        row[0] += size;
        row[1] += 1;
        books.live.push((pool, key, size));
    }
    books.live.sort_unstable();
    books.errors = serde_json::from_value(step.said["errors"].clone())?;
    Ok(books)
}

/// What was seen of a process, and more.
#[derive(Debug, Default)]
struct Seen {
    books: Books,
    runtimes: BTreeSet<String>,
    /// The functions that are said to have allocated.
    functions: BTreeSet<String>,
    unknown_frees: u64,
    /// Of the libraries: what is not understood of them.
    problems: Vec<String>,
}

fn look(daemon: &Daemon, pid: u32) -> Result<Seen> {
    // A process is in doubt as long as not all of its files were looked at.
    daemon.wait_for("numbers that are sure", |snapshot| {
        let rows = process(snapshot, pid)?.usage.as_ref()?;
        rows.iter().all(|row| row.exact).then_some(())
    })?;
    let mut client = Connection::open(&daemon.socket())?;
    let answer = client.ask(json!("snapshot"))?;
    let snapshot = &answer["snapshot"];
    let listed = client.ask(json!({"live": {"pids": [pid]}}))?;
    let of_it = |list: &Value| -> Vec<Value> {
        let all = list.as_array().into_iter().flatten();
        all.filter(|one| one["pid"] == pid).cloned().collect()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut seen = Seen {
        unknown_frees: snapshot["health"]["unknown_frees"]
            .as_u64()
            .context("health")?,
        ..Seen::default()
    };
    for process in of_it(&snapshot["processes"]) {
        ensure!(process["since"] == "start", "{process}");
        for usage in process["usage"].as_array().into_iter().flatten() {
            let count = |what: &str| usage[what].as_u64().context("a number that is not known");
            ensure!(usage["exact"] == true, "{usage}");
            let row = [
                count("requested_bytes")?,
                count("live_allocations")?,
                count("allocations")?,
                count("frees")?,
                count("failed_allocations")?,
            ];
            if row == [0; 5] {
                continue;
            }
            let place = (text(&usage["pool"]), usage["device"].as_i64());
            // Memory of somebody else's takes nothing here.
            let charged = (place.0 != "IMPORTED").then_some(row[0]);
            assert_eq!(usage["charged_bytes"].as_u64(), charged, "{usage}");
            let sums = seen.books.numbers.entry(place).or_default();
            for (sum, number) in sums.iter_mut().zip(row) {
                *sum += number;
            }
            seen.runtimes.insert(text(&usage["runtime"]));
        }
    }
    for one in of_it(&listed["live"]["allocations"]) {
        let number = |what: &str| one[what].as_u64().context("a number");
        let entry = (
            text(&one["pool"]),
            number("key")?,
            number("requested_bytes")?,
        );
        assert_eq!(one["address"].as_u64(), Some(entry.1), "{one}");
        seen.books.live.push(entry);
        seen.functions.insert(text(&one["api"]));
    }
    seen.books.live.sort_unstable();
    let mut failures = of_it(&snapshot["failures"]);
    failures.sort_by_key(|failure| failure["number"].as_u64());
    seen.books.errors = failures
        .iter()
        .map(|failure| failure["error_code"].as_u64().unwrap_or_default())
        .collect();
    for library in snapshot["libraries"].as_array().into_iter().flatten() {
        let path = text(&library["path"]);
        if path.contains("libze_") && !library["problem"].is_null() {
            seen.problems
                .push(format!("{path}: {}", library["problem"]));
        }
    }
    Ok(seen)
}

/// Another driver of the same kind, which no profile knows by its name; the loader can be told to take it.
fn unheard_of(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("libze_other_gpu.so.1");
    let mut driver = std::fs::read(DRIVER)?;
    let (own, other) = (b"libze_intel_gpu.so.1\0", b"libze_other_gpu.so.1\0");
    let place = driver.windows(own.len()).position(|bytes| bytes == own);
    let place = place.context("the driver's own name")?;
    driver
        .get_mut(place..place + own.len())
        .context("its place")?
        .copy_from_slice(other);
    std::fs::write(&path, driver)?;
    Ok(path)
}

/// Everything is there as the program has it, and once.
fn observed(way: &str, devices: u32, args: &[&str], counts: &[&str]) -> Result<Seen> {
    let dir = tempfile::tempdir()?;
    let program = compiled(dir.path(), "workload.c", "workload", &[])?;
    let other = unheard_of(dir.path())?;
    // Whoever has the libraries open lets them be found.
    let mut before = Workload::spawn(emulated(&program, "both", 1))?;
    before.expect_step()?;
    let daemon = Daemon::start(args)?;
    usage_known(&daemon, before.pid())?;
    // Start times are told in hundredths of a second: surely after the attachment.
    thread::sleep(Duration::from_millis(30));
    let mut command = emulated(&program, way, devices);
    if way == "apart" {
        command.env("ZE_ENABLE_ALT_DRIVERS", other);
    }
    let mut workload = Workload::spawn(command)?;
    workload.expect_step()?;
    let step = workload.expect_step()?;
    let seen = look(&daemon, step.pid)?;
    let books = said(&step)?;
    let sum = |index: usize| books.numbers.values().map(|row| row[index]).sum::<u64>();
    ensure!((sum(1), sum(2), sum(3)) == (30, 150, 120) && sum(4) > 3);
    assert_eq!(seen.books, books);
    assert_eq!(seen.unknown_frees, 0);
    let counts: BTreeSet<String> = counts.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(seen.runtimes, counts);
    ensure!(workload.step()?.is_none() && workload.wait()?.success());
    before.wait()?;
    println!(
        "{way}, {devices} device(s): {} allocations, {} frees, {} failures, {} live of {} bytes",
        sum(2),
        sum(3),
        sum(4),
        sum(1),
        sum(0)
    );
    Ok(seen)
}

fn functions(seen: &Seen) -> Vec<&str> {
    seen.functions.iter().map(String::as_str).collect()
}

const FUNCTIONS: [&str; 3] = ["zeMemAllocDevice", "zeMemAllocHost", "zeMemAllocShared"];

fn through_the_loader() -> Result<()> {
    need_driver()?;
    for devices in [1, 2] {
        let seen = observed("loader", devices, &[], &[COUNTS])?;
        assert_eq!(seen.problems, [""; 0]);
        assert_eq!(functions(&seen), FUNCTIONS);
    }
    Ok(())
}

/// Past the loader: no symbol tells where the driver's functions are.
fn through_the_drivers_table() -> Result<()> {
    need_driver()?;
    for devices in [1, 2] {
        let seen = observed("table", devices, &[], &[COUNTS])?;
        assert_eq!(seen.problems, [""; 0]);
        assert_eq!(functions(&seen), FUNCTIONS);
    }
    Ok(())
}

/// What comes through the loader comes to the driver, too, and counts once.
fn both_ways_in_one_process() -> Result<()> {
    need_driver()?;
    for devices in [1, 2] {
        let seen = observed("both", devices, &[], &[COUNTS])?;
        assert_eq!(functions(&seen), FUNCTIONS);
    }
    Ok(())
}

/// Where the driver is not known, the loader's functions count by themselves.
fn the_loader_alone() -> Result<()> {
    need_driver()?;
    let only = ["--runtime", LABELS];
    let seen = observed("loader", 2, &only, &[LABELS])?;
    assert_eq!(functions(&seen), FUNCTIONS);
    Ok(())
}

/// Nothing of it is lost because another driver, in the same process, is known.
fn a_driver_that_is_not_known_beside_one_that_is() -> Result<()> {
    need_driver()?;
    let seen = observed("apart", 2, &[], &[COUNTS, LABELS])?;
    assert_eq!(functions(&seen), FUNCTIONS);
    Ok(())
}

/// A double of the drivers of 2024 and later, which do not run here. What they export are functions of their own; and
/// they have another interface (OpenCL), whose calls of those are none of the program's: it is counted elsewhere.
fn exports_beside_the_table() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // Two functions alike must stay two, and be called.
    let library = ["-O1", "-shared", "-fPIC", "-fno-ipa-icf"];
    compiled(dir.path(), "double.c", "libze_intel_gpu.so.1", &library)?;
    let program = compiled(dir.path(), "exports.c", "exports", &[])?;
    let start = || {
        let mut command = Command::new(&program);
        command.current_dir(dir.path());
        Workload::spawn(command)
    };
    let mut before = start()?;
    before.expect_step()?;
    let daemon = Daemon::start(&[])?;
    usage_known(&daemon, before.pid())?;
    thread::sleep(Duration::from_millis(30));
    let mut workload = start()?;
    workload.expect_step()?;
    let step = workload.expect_step()?;
    let seen = look(&daemon, step.pid)?;
    let bytes: [u64; 2] = serde_json::from_value(step.said["bytes"].clone())?;
    let row = |bytes: u64| [bytes, 10, 60, 50, 1];
    let device = |number| ("DEVICE".to_owned(), Some(number));
    let expected = Numbers::from([(device(0), row(bytes[0])), (device(1), row(bytes[1]))]);
    assert_eq!(seen.books.numbers, expected);
    let codes: Vec<u64> = serde_json::from_value(step.said["errors"].clone())?;
    assert_eq!(seen.books.errors, codes);
    assert_eq!(seen.unknown_frees, 0);
    assert_eq!(seen.problems, [""; 0]);
    let names = ["zeMemAllocDevice", "zeMemAllocDevice, exported"];
    assert_eq!(functions(&seen), names);
    println!("a double: 60 allocations by its table, 60 by its exports, 120 by another interface");
    Ok(())
}

memmon_tests::cases![
    through_the_loader,
    through_the_drivers_table,
    both_ways_in_one_process,
    the_loader_alone,
    a_driver_that_is_not_known_beside_one_that_is,
    exports_beside_the_table,
];
