//! Vulkan on lavapipe, which needs no hardware: functions from three places, and a library that cuts its buffers out of
//! Vulkan's memory. The judge is what the program itself wrote down.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use memmon::{
    elf,
    observe::{Observation, Options, Request, Runtimes},
    runtimes::vulkan,
    tables::{
        Filter,
        live::{Inspect, LiveAllocation, LiveAsk},
        snapshot::{Snapshot, Usage},
    },
};
use memmon_tests::{
    c::{cc, source},
    memmon::{Ward, process},
    optional::{NotRun, fetched},
};
use serde_json::Value;
use tokio::sync::oneshot;

const DRIVERS: &str = "/usr/share/vulkan/icd.d";

/// A manifest of lavapipe, and the environment that has the loader take this driver alone.
fn lavapipe() -> Result<(&'static str, PathBuf)> {
    let missing = "there is no lavapipe (Debian: mesa-vulkan-drivers)";
    Ok(manifest("lvp_icd").ok_or_else(|| NotRun(missing.to_owned()))?)
}

fn manifest(beginning: &str) -> Option<(&'static str, PathBuf)> {
    let entries = std::fs::read_dir(DRIVERS).ok()?;
    let found = entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(beginning))?;
    Some(("VK_ICD_FILENAMES", found.path()))
}

/// What the program writes down about itself.
#[derive(Debug)]
struct Truth {
    name: String,
    device: i64,
    device_local: bool,
    /// Where vkGetDeviceProcAddr leads for vkAllocateMemory and vkFreeMemory.
    driver: [Place; 2],
    allocations: u64,
    frees: u64,
    failed: u64,
    error: i64,
    /// Handles and sizes.
    imported: Option<(u64, u64)>,
    live: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Place {
    file: PathBuf,
    offset: u64,
}

impl Truth {
    fn read(line: &str) -> Result<Self> {
        let said: Value = serde_json::from_str(line)?;
        let number = |name: &str| said[name].as_u64().with_context(|| name.to_owned());
        let place = |name: &str| -> Result<Place> {
            let place = &said["driver"][name];
            Ok(Place {
                file: place["file"].as_str().context("a file")?.into(),
                offset: place["offset"].as_u64().context("an offset")?,
            })
        };
        Ok(Self {
            name: said["name"].as_str().context("a name")?.to_owned(),
            device: said["device"].as_i64().context("a device")?,
            device_local: said["device_local"].as_bool().context("device_local")?,
            driver: [place("vkAllocateMemory")?, place("vkFreeMemory")?],
            allocations: number("allocations")?,
            frees: number("frees")?,
            failed: number("failed")?,
            error: said["error"].as_i64().context("error")?,
            imported: serde_json::from_value(said["imported"].clone())?,
            live: serde_json::from_value(said["live"].clone())?,
        })
    }

    fn bytes(&self) -> u64 {
        self.live.iter().map(|(_, size)| size).sum()
    }
}

/// The program, in a folder of its own.
fn built(folder: &Path) -> Result<PathBuf> {
    let library = "-l:libvulkan.so.1";
    if cc(folder, &["-shared", "-o", "empty.so", library]).is_err() {
        let missing = "there is no libvulkan.so.1 (Debian: libvulkan1)";
        return Err(NotRun(missing.to_owned()).into());
    }
    let from = source("vulkan/program.c");
    let callbacks = "-Wno-unused-parameter";
    cc(folder, &[callbacks, "-o", "program", &from, library])?;
    Ok(folder.join("program"))
}

/// Runs until it has said what it did; ends with its input.
fn started(command: &mut Command) -> Result<(Ward, String)> {
    let mut child: Child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let mut line = String::new();
    let output = child.stdout.take().context("stdout")?;
    BufReader::new(output).read_line(&mut line)?;
    Ok((Ward(child), line))
}

fn told(command: &mut Command) -> Result<(Ward, Truth)> {
    let (child, line) = started(command)?;
    let truth = Truth::read(&line).with_context(|| format!("{command:?}: {line}"))?;
    Ok((child, truth))
}

fn observe(only: &[&str]) -> Result<Observation> {
    let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
    let runtimes = Runtimes::load(&[] as &[&str], &only).map_err(anyhow::Error::msg)?;
    Ok(Observation::start(
        Options::default(),
        runtimes,
        Duration::from_secs(1),
    )?)
}

fn snapshot(observation: &Observation) -> Result<Snapshot> {
    let (reply, answer) = oneshot::channel();
    let filter = Filter::default();
    observation
        .requests
        .blocking_send(Request { filter, reply })?;
    answer.blocking_recv().context("no snapshot")
}

fn listed(observation: &Observation, pid: u32) -> Result<Vec<LiveAllocation>> {
    let (reply, answer) = oneshot::channel();
    let ask = LiveAsk {
        pids: vec![pid],
        ..LiveAsk::default()
    };
    observation
        .inspections()
        .blocking_send(Inspect { ask, reply })?;
    Ok(answer.blocking_recv().context("no list")?.allocations)
}

fn rows(snapshot: &Snapshot, pid: u32) -> Result<&[Usage]> {
    let seen = process(snapshot, pid).context("the process is not seen")?;
    Ok(seen.usage.as_deref().unwrap_or_default())
}

/// Everything that the program says, by the runtime of that name and by no other.
fn same(observation: &Observation, pid: u32, truth: &Truth, runtime: &str) -> Result<()> {
    let snapshot = snapshot(observation)?;
    let rows = rows(&snapshot, pid)?;
    let pool = if truth.device_local { "DEVICE" } else { "HOST" };
    let row = rows
        .iter()
        .find(|row| row.pool == pool)
        .with_context(|| format!("no row of {pool}: {rows:#?}"))?;
    ensure!(
        rows.iter().all(|row| row.runtime == runtime),
        "counted twice: {rows:#?}"
    );
    let bytes = Some(truth.bytes());
    assert_eq!((row.requested_bytes, row.charged_bytes), (bytes, bytes));
    assert_eq!(row.live_allocations, Some(truth.live.len() as u64));
    assert_eq!(
        (row.allocations, row.frees, row.failed_allocations),
        (
            Some(truth.allocations),
            Some(truth.frees),
            Some(truth.failed)
        )
    );
    assert_eq!((row.device, row.exact), (Some(truth.device), true));
    let imported = rows.iter().find(|row| row.pool == "IMPORTED");
    assert_eq!(
        imported.map(|row| (row.requested_bytes, row.charged_bytes)),
        truth.imported.map(|(_, size)| (Some(size), None))
    );
    let expected: BTreeSet<(u64, u64)> = truth.live.iter().copied().chain(truth.imported).collect();
    let list = listed(observation, pid)?;
    let found: BTreeSet<(u64, u64)> = list
        .iter()
        .map(|one| (one.key, one.requested_bytes))
        .collect();
    assert_eq!((found, list.len()), (expected.clone(), expected.len()));
    let failures: Vec<_> = snapshot
        .failures
        .iter()
        .filter(|failure| failure.pid == pid)
        .map(|failure| {
            (
                failure.requested_bytes,
                failure.error_code,
                failure.api.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        failures,
        [(1 << 62, Some(truth.error), Some("vkAllocateMemory"))]
    );
    assert_eq!(snapshot.health.unknown_frees, 0);
    Ok(())
}

/// Linked, asked of the instance, asked of the device: to the driver they are the same.
fn wherever_the_function_comes_from() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = built(folder.path())?;
    // The second driver computes nothing without hardware, but allocates.
    let drivers = [Some(lavapipe()?), manifest("radeon_icd")];
    for (variable, driver) in drivers.into_iter().flatten() {
        let run = |from: &str| {
            let mut command = Command::new(&program);
            command
                .arg(from)
                .env(variable, &driver)
                .env("RADV_FORCE_FAMILY", "navi21");
            command
        };
        // One that runs already makes the libraries known: all is attached before the next begins.
        let (_before, _) = told(&mut run("linked"))?;
        let observation = observe(&["vulkan", "vulkan-loader"])?;
        std::thread::sleep(Duration::from_millis(30));
        for from in ["linked", "instance", "device"] {
            let (child, truth) = told(&mut run(from))?;
            same(&observation, child.0.id(), &truth, "vulkan")
                .with_context(|| format!("{}, {from}", truth.name))?;
            println!(
                "{}, {from}: {} allocations, {} frees, {} failed, {} live as the program has them",
                truth.name,
                truth.allocations,
                truth.frees,
                truth.failed,
                truth.live.len()
            );
        }
        observation.stop();
    }
    Ok(())
}

/// Where nobody looks into the drivers, the loader counts what goes through it; and nothing else.
fn the_loader_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (program, (variable, driver)) = (built(folder.path())?, lavapipe()?);
    let run = |from: &str| {
        let mut command = Command::new(&program);
        command.arg(from).env(variable, &driver);
        command
    };
    let (_before, _) = told(&mut run("linked"))?;
    let observation = observe(&["vulkan-loader"])?;
    std::thread::sleep(Duration::from_millis(30));
    for from in ["linked", "instance"] {
        let (child, truth) = told(&mut run(from))?;
        same(&observation, child.0.id(), &truth, "vulkan-loader").context(from)?;
    }
    let (child, _) = told(&mut run("device"))?;
    let snapshot = snapshot(&observation)?;
    let rows = rows(&snapshot, child.0.id()).unwrap_or_default();
    ensure!(rows.is_empty(), "{rows:#?}");
    observation.stop();
    Ok(())
}

/// A driver of which nobody knows where its functions are, beside one that is understood and mapped, too: what goes
/// through the loader is counted there. With two devices and two kinds of memory.
fn a_driver_that_nobody_understands() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (program, (variable, lavapipe)) = (built(folder.path())?, lavapipe()?);
    let driver = folder.path().join("libvulkan_double.so");
    let library = [
        "-Wno-unused-parameter",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-o",
    ];
    let from = source("vulkan/driver.c");
    cc(
        folder.path(),
        &[&library[..], &["libvulkan_double.so", &from]].concat(),
    )?;
    let manifest = folder.path().join("double_icd.json");
    let icd = serde_json::json!({
        "file_format_version": "1.0.0",
        "ICD": {"library_path": driver, "api_version": "1.1.0"},
    });
    std::fs::write(&manifest, icd.to_string())?;
    let drivers = std::env::join_paths([&manifest, &lavapipe])?;
    let run = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).env(variable, &drivers);
        command
    };
    let (_before, _) = told(&mut run(&["linked"]))?;
    let observation = observe(&["vulkan", "vulkan-loader"])?;
    std::thread::sleep(Duration::from_millis(30));
    for (words, runtime) in [
        (["linked", "0", "0"], "vulkan-loader"),
        (["instance", "1", "1"], "vulkan-loader"),
        (["linked", "2", "0"], "vulkan"),
        (["device", "2", "0"], "vulkan"),
    ] {
        let (child, truth) = told(&mut run(&words))?;
        same(&observation, child.0.id(), &truth, runtime)
            .with_context(|| format!("{}, {words:?}", truth.name))?;
    }
    // What comes to this driver directly, nobody sees.
    let (child, _) = told(&mut run(&["device", "1", "1"]))?;
    let snapshot = snapshot(&observation)?;
    let rows = rows(&snapshot, child.0.id()).unwrap_or_default();
    ensure!(rows.is_empty(), "{rows:#?}");
    // And that is said.
    let library = snapshot
        .libraries
        .iter()
        .find(|library| Path::new(&library.path) == driver)
        .context("the driver is not told of")?;
    let problem = library.problem.as_deref().unwrap_or_default();
    ensure!(problem.contains("no map of"), "{problem}");
    observation.stop();
    Ok(())
}

/// What is found in the file is what vkGetDeviceProcAddr hands out.
fn the_drivers_own_functions() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = built(folder.path())?;
    let drivers = [Some(lavapipe()?), manifest("radeon_icd")];
    for (variable, driver) in drivers.into_iter().flatten() {
        let mut command = Command::new(&program);
        command
            .env(variable, driver)
            .env("RADV_FORCE_FAMILY", "navi21");
        let (_child, truth) = told(&mut command)?;
        let [allocate, free] = &truth.driver;
        assert_eq!(allocate.file, free.file);
        let file = std::fs::File::open(&allocate.file)?;
        let library = elf::Library::open(&file)?;
        let understood = vulkan::understand(&library).map_err(anyhow::Error::msg)?;
        for (constant, place) in [("allocate_memory", allocate), ("free_memory", free)] {
            assert_eq!(
                understood.constants.get(constant).copied(),
                Some(i64::try_from(place.offset)?),
                "{constant} of {}",
                place.file.display()
            );
        }
        println!(
            "{}: vkAllocateMemory at {:#x}, vkFreeMemory at {:#x} of {}",
            truth.name,
            allocate.offset,
            free.offset,
            allocate.file.display()
        );
    }
    Ok(())
}

/// What wgpu's program writes down.
#[derive(Debug)]
struct Buffers {
    created: u64,
    destroyed: u64,
    live_bytes: u64,
    /// One for which Vulkan is asked for more.
    large: u64,
    /// Sizes of those that there was no memory for.
    refused: Vec<u64>,
}

impl Buffers {
    fn read(line: &str) -> Result<Self> {
        let said: Value = serde_json::from_str(line)?;
        let number = |name: &str| said[name].as_u64().with_context(|| name.to_owned());
        Ok(Self {
            created: number("created")?,
            destroyed: number("destroyed")?,
            live_bytes: number("live_bytes")?,
            large: number("large")?,
            refused: serde_json::from_value(said["refused"].clone())?,
        })
    }
}

/// Its buffers are parts of Vulkan's blocks: these are counted, once. Without Vulkan in sight, the buffers are.
fn buffers_of_wgpu() -> Result<()> {
    let python = fetched("wgpu/bin/python")?;
    let (variable, driver) = lavapipe()?;
    let script = source("vulkan/buffers.py");
    let run = |words: &[&str]| -> Result<(Ward, Buffers)> {
        let mut command = Command::new(&python);
        command
            .arg(&script)
            .args(words)
            .env(variable, &driver)
            .env("WGPU_BACKEND_TYPE", "Vulkan");
        let (child, line) = started(&mut command)?;
        let truth = Buffers::read(&line).with_context(|| line.clone())?;
        Ok((child, truth))
    };
    let (_before, _) = run(&[])?;
    // The buffers alone, and none that was refused: wgpu returns a buffer for it all the same.
    let observation = observe(&["wgpu"])?;
    std::thread::sleep(Duration::from_millis(30));
    let (child, truth) = run(&[])?;
    let seen = snapshot(&observation)?;
    let [row] = rows(&seen, child.0.id())? else {
        anyhow::bail!("one row: {:#?}", rows(&seen, child.0.id())?);
    };
    assert_eq!(
        (row.runtime.as_str(), row.allocations, row.frees),
        ("wgpu", Some(truth.created), Some(truth.destroyed))
    );
    assert_eq!(row.charged_bytes, Some(truth.live_bytes));
    assert_eq!(row.live_allocations, Some(truth.created - truth.destroyed));
    observation.stop();
    // With everything below.
    let observation = observe(&["wgpu", "vulkan", "vulkan-loader"])?;
    std::thread::sleep(Duration::from_millis(30));
    let (child, truth) = run(&["--refused"])?;
    let seen = snapshot(&observation)?;
    let rows = rows(&seen, child.0.id())?;
    ensure!(
        !rows.is_empty() && rows.iter().all(|row| row.runtime == "vulkan"),
        "Vulkan alone counts: {rows:#?}"
    );
    let charged: u64 = rows.iter().filter_map(|row| row.charged_bytes).sum();
    let blocks: u64 = rows.iter().filter_map(|row| row.live_allocations).sum();
    ensure!(
        charged >= truth.live_bytes && blocks < truth.created - truth.destroyed,
        "{charged} bytes in {blocks} blocks for {truth:?}"
    );
    // VK_ERROR_OUT_OF_DEVICE_MEMORY, and who asked for it.
    let failures = seen.failures.iter().filter(|one| one.pid == child.0.id());
    let failures: Vec<_> = failures
        .map(|one| (one.requested_bytes, one.error_code, one.api.as_deref()))
        .collect();
    ensure!(truth.refused.len() == 1, "{truth:?}");
    assert_eq!(
        failures,
        [(truth.refused[0], Some(-2), Some("wgpuDeviceCreateBuffer"))]
    );
    let failed: u64 = rows.iter().filter_map(|row| row.failed_allocations).sum();
    assert_eq!(failed, 1, "{rows:#?}");
    let list = listed(&observation, child.0.id())?;
    // The first block was taken for the device itself.
    ensure!(
        list.iter().any(|block| block.requested_bytes >= truth.large
            && block.api.as_deref() == Some("wgpuDeviceCreateBuffer")),
        "{list:#?}"
    );
    println!(
        "{} buffers created, {} destroyed, {} bytes left: {charged} bytes of Vulkan's in {blocks} blocks",
        truth.created, truth.destroyed, truth.live_bytes
    );
    observation.stop();
    Ok(())
}

memmon_tests::cases![
    wherever_the_function_comes_from,
    the_loader_alone,
    a_driver_that_nobody_understands,
    the_drivers_own_functions,
    buffers_of_wgpu,
];
