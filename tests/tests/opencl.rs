//! OpenCL and SYCL on the processor: real implementations, whose programs write down what they hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    lab::{Step, Workload},
    memmon::{Daemon, Ward},
    optional::{fetched, needs},
    raw::Connection,
    record::usage_known,
};
use serde_json::{Value, json};

/// Debian's loader and its only implementation.
const LOADER: &str = "/usr/lib/x86_64-linux-gnu/libOpenCL.so.1";
const POCL: &str = "/usr/lib/x86_64-linux-gnu/libpocl.so.2";
const HEADER: &str = "/usr/include/CL/cl_icd.h";
/// Part of the names of the platforms.
const POCLS: &str = "Portable Computing";
const INTELS: &str = "Intel";

/// What `cargo xtask test` installs of Python's packages.
fn environment() -> Result<PathBuf> {
    fetched("opencl/bin/python")?;
    fetched("opencl")
}

fn need(files: &[&str]) -> Result<()> {
    files.iter().try_for_each(|file| needs(Path::new(file)))
}

/// The workload in C; it opens the libraries that it is told to.
fn program(dir: &Path) -> Result<PathBuf> {
    let from = source("opencl/workload.c");
    let old_functions_too = "-Wno-deprecated-declarations";
    cc(dir, &[old_functions_too, "-o", "workload", &from])?;
    Ok(dir.join("workload"))
}

/// With Intel's libraries.
fn with_intel(command: &mut Command, root: &Path) {
    let folder = root.join("lib");
    command
        .env("LD_LIBRARY_PATH", &folder)
        .env("OCL_ICD_FILENAMES", folder.join("libintelocl.so"))
        .env("ONEAPI_DEVICE_SELECTOR", "opencl:cpu");
}

/// Runtime → pool → (requested bytes, live, allocations, frees, failures): of all that is not nothing.
type Numbers = BTreeMap<(String, String), [u64; 5]>;

/// As the programs call the pools; `buffers` is the runtime that counts what is no USM.
fn of_pool(name: &str, buffers: &str) -> (String, String) {
    match name.strip_prefix("USM_") {
        Some(pool) => ("opencl-usm".to_owned(), pool.to_owned()),
        None => (buffers.to_owned(), name.to_owned()),
    }
}

/// An allocation: runtime, pool, what its free will name, and bytes.
type One = ((String, String), u64, u64);

fn live(said: &Value, buffers: &str) -> Result<Vec<One>> {
    let all: Vec<(String, u64, u64)> = serde_json::from_value(said["live"].clone())?;
    let mut all: Vec<One> = all
        .into_iter()
        .map(|(pool, key, size)| (of_pool(&pool, buffers), key, size))
        .collect();
    all.sort_unstable();
    Ok(all)
}

fn numbers(said: &Value, buffers: &str) -> Result<Numbers> {
    let mut numbers = Numbers::new();
    for (name, pool) in said["pools"].as_object().context("pools")? {
        let count = |what: &str| pool[what].as_u64().context("a count");
        let row = [
            0,
            0,
            count("allocations")?,
            count("frees")?,
            count("failed")?,
        ];
        if row != [0; 5] {
            numbers.insert(of_pool(name, buffers), row);
        }
    }
    for (pool, _, size) in live(said, buffers)? {
        let row = numbers.entry(pool).or_default();
        row[0] += size;
        row[1] += 1;
    }
    Ok(numbers)
}

/// What was seen of a process.
struct Seen {
    numbers: Numbers,
    /// Charged bytes, where they are not what was requested.
    charged: BTreeMap<(String, String), Option<u64>>,
    live: Vec<One>,
    /// The functions that are said to have allocated.
    functions: BTreeSet<String>,
    /// Codes of failures, in order.
    errors: Vec<i64>,
    unknown_frees: u64,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn look(daemon: &Daemon, pid: u32) -> Result<Seen> {
    let mut client = Connection::open(&daemon.socket())?;
    let answer = client.ask(json!("snapshot"))?;
    let snapshot = &answer["snapshot"];
    let listed = client.ask(json!({"live": {"pids": [pid]}}))?;
    let of_it = |list: &Value| -> Vec<Value> {
        let all = list.as_array().into_iter().flatten();
        all.filter(|one| one["pid"] == pid).cloned().collect()
    };
    let mut seen = Seen {
        numbers: Numbers::new(),
        charged: BTreeMap::new(),
        live: Vec::new(),
        functions: BTreeSet::new(),
        errors: Vec::new(),
        unknown_frees: snapshot["health"]["unknown_frees"]
            .as_u64()
            .context("health")?,
    };
    for process in of_it(&snapshot["processes"]) {
        for usage in process["usage"].as_array().into_iter().flatten() {
            let count = |what: &str| usage[what].as_u64().context("a number that is not known");
            let pool = (text(&usage["runtime"]), text(&usage["pool"]));
            ensure!(usage["exact"] == true, "{usage}");
            let row = [
                count("requested_bytes")?,
                count("live_allocations")?,
                count("allocations")?,
                count("frees")?,
                count("failed_allocations")?,
            ];
            let charged = usage["charged_bytes"].as_u64();
            if charged != Some(row[0]) {
                seen.charged.insert(pool.clone(), charged);
            }
            if row != [0; 5] {
                seen.numbers.insert(pool, row);
            }
        }
    }
    for one in of_it(&listed["live"]["allocations"]) {
        let number = |what: &str| one[what].as_u64().context("a number");
        let pool = (text(&one["runtime"]), text(&one["pool"]));
        seen.live
            .push((pool, number("key")?, number("requested_bytes")?));
        seen.functions.insert(text(&one["api"]));
    }
    seen.live.sort_unstable();
    let mut failures = of_it(&snapshot["failures"]);
    failures.sort_by_key(|failure| failure["number"].as_u64());
    let codes = failures
        .iter()
        .map(|failure| failure["error_code"].as_i64());
    seen.errors = codes.map(Option::unwrap_or_default).collect();
    Ok(seen)
}

/// Everything is there as the program has it, and once. `buffers` is the runtime that counts buffers.
fn same(seen: &Seen, step: &Step, buffers: &str) -> Result<()> {
    assert_eq!(seen.numbers, numbers(&step.said, buffers)?);
    assert_eq!(seen.live, live(&step.said, buffers)?);
    // The program's own memory is no device's.
    let host = (buffers.to_owned(), "HOST_PTR".to_owned());
    ensure!(
        seen.charged.keys().all(|pool| *pool == host),
        "{:?}",
        seen.charged
    );
    // Where the program was told.
    let codes: Vec<Option<i64>> = serde_json::from_value(step.said["errors"].clone())?;
    assert_eq!(seen.errors.len(), codes.len());
    for (seen, code) in seen.errors.iter().zip(codes) {
        ensure!(
            code.is_none_or(|code| code == *seen),
            "{code:?}, not {seen}"
        );
    }
    assert_eq!(seen.unknown_frees, 0);
    Ok(())
}

/// Starts it where its libraries are known already, so that nothing of it is missed.
fn observed(command: impl Fn() -> Command, buffers: &str) -> Result<(Seen, u64)> {
    // Whoever has them open lets them be found.
    let mut before = start(command())?;
    let daemon = Daemon::start(&[])?;
    usage_known(&daemon, before.0.id())?;
    // A loader tries drivers, and lets go of those that find no device: they are met when one starts.
    let mut between = start(command())?;
    usage_known(&daemon, between.0.id())?;
    // Start times are told in hundredths of a second: surely after the attachment.
    thread::sleep(Duration::from_millis(30));
    let mut workload = Workload::spawn(command())?;
    workload.expect_step()?;
    let step = workload.expect_step()?;
    let seen = look(&daemon, step.pid)?;
    same(&seen, &step, buffers)?;
    ensure!(workload.step()?.is_none() && workload.wait()?.success());
    for other in [&mut before, &mut between] {
        drop(other.0.stdin.take());
        other.0.wait()?;
    }
    let sum = |index: usize| seen.numbers.values().map(|row| row[index]).sum::<u64>();
    let (allocations, failed) = (sum(2), sum(4));
    ensure!(allocations > 100 && sum(1) > 10 && failed > 0);
    Ok((seen, allocations))
}

/// One that has said its first line: its libraries are loaded.
fn start(mut command: Command) -> Result<Ward> {
    use std::io::{BufRead as _, BufReader};
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().context("its output")?;
    let ward = Ward(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(line.contains("loaded"), "it did not start: {line}");
    Ok(ward)
}

fn functions(seen: &Seen) -> Vec<&str> {
    seen.functions.iter().map(String::as_str).collect()
}

fn pocl_through_the_loader() -> Result<()> {
    need(&[LOADER, POCL, HEADER])?;
    let dir = tempfile::tempdir()?;
    let program = program(dir.path())?;
    let command = || {
        let mut command = Command::new(&program);
        command.args([LOADER, POCLS]);
        command
    };
    let (seen, count) = observed(command, "opencl")?;
    let known = [
        "clCreateBuffer",
        "clCreateBufferWithProperties",
        "clCreateImage",
        "clSVMAlloc",
    ];
    assert_eq!(functions(&seen), known);
    println!("pocl under ocl-icd: {count} allocations");
    Ok(())
}

/// As a loader of the program's own calls it: no symbol tells where its functions are. It gives up references of its
/// own, which are none of the program's.
fn pocl_through_its_table() -> Result<()> {
    need(&[POCL, HEADER])?;
    let dir = tempfile::tempdir()?;
    let program = program(dir.path())?;
    let command = || {
        let mut command = Command::new(&program);
        command.args([POCL, POCLS, "dispatch"]);
        command
    };
    let (_, count) = observed(command, "opencl-icd")?;
    println!("pocl through its table: {count} allocations");
    Ok(())
}

fn intel_through_the_loader_and_without() -> Result<()> {
    let root = environment()?;
    let folder = root.join("lib");
    let [loader, implementation] =
        ["libOpenCL.so.1", "libintelocl.so"].map(|name| folder.join(name));
    for file in [&loader, &implementation, Path::new(HEADER)] {
        needs(file)?;
    }
    let dir = tempfile::tempdir()?;
    let program = program(dir.path())?;
    for (library, words, buffers) in [
        (&loader, &[][..], "opencl"),
        (&implementation, &[][..], "opencl-icd"),
        (&implementation, &["dispatch"][..], "opencl-icd"),
    ] {
        let command = || {
            let mut command = Command::new(&program);
            with_intel(&mut command, &root);
            command.arg(library).arg(INTELS).args(words);
            command
        };
        let (_, count) = observed(command, buffers)?;
        println!(
            "Intel's CPU OpenCL, {} {words:?}: {count} allocations",
            library.display()
        );
    }
    Ok(())
}

/// It carries a loader of its own, under a name of its own.
fn pyopencl() -> Result<()> {
    let root = environment()?;
    need(&[POCL])?;
    let command = || {
        let mut command = Command::new(root.join("bin/python"));
        command.arg(source("opencl/buffers.py")).arg(POCLS);
        command
    };
    let (_, count) = observed(command, "opencl")?;
    println!("PyOpenCL on pocl: {count} allocations");
    Ok(())
}

/// Three layers see each of these: SYCL's functions, OpenCL's, and the loader where the context came from.
fn sycl_counts_once() -> Result<()> {
    let root = environment()?;
    let libraries = ["libsycl.so.9", "libintelocl.so"].map(|name| root.join("lib").join(name));
    libraries.iter().try_for_each(|library| needs(library))?;
    let command = || {
        let mut command = Command::new(root.join("bin/python"));
        with_intel(&mut command, &root);
        command.arg(source("opencl/usm.py")).arg("opencl:cpu");
        command
    };
    let (seen, count) = observed(command, "opencl")?;
    assert_eq!(
        functions(&seen),
        ["urUSMDeviceAlloc", "urUSMHostAlloc", "urUSMSharedAlloc"]
    );
    println!("SYCL on OpenCL: {count} allocations");
    Ok(())
}

memmon_tests::cases![
    pocl_through_the_loader,
    pocl_through_its_table,
    intel_through_the_loader_and_without,
    pyopencl,
    sycl_counts_once,
];
