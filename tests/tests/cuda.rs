//! CUDA: all of the profile on a double of the driver's API, and the genuine libraries as far as they go without a GPU.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    memmon::binary,
    optional::{NotRun, fetched},
    witness::{self, alone, observed},
};

/// The double of the driver's API.
fn driver(dir: &Path) -> Result<()> {
    let double = source("cuda/double.c");
    let name = "libcuda.so.1";
    let soname = "-Wl,-soname,libcuda.so.1";
    cc(
        dir,
        &["-shared", "-fPIC", soname, "-o", name, &double, "-lpthread"],
    )
}

/// Every function, contexts on two devices, threads, and what fails: linked with the library, and loading it.
fn the_driver() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path();
    driver(dir)?;
    let workload = source("cuda/workload.c");
    let workload = workload.as_str();
    let here = "-Wl,-rpath,$ORIGIN";
    cc(
        dir,
        &[
            "-o",
            "linked",
            workload,
            "./libcuda.so.1",
            here,
            "-lpthread",
        ],
    )?;
    cc(
        dir,
        &[
            "-DDRIVER_LOADED",
            "-o",
            "loading",
            workload,
            here,
            "-lpthread",
            "-ldl",
        ],
    )?;
    for program in ["linked", "loading"] {
        let steps = observed(&["cuda"], || {
            let mut command = Command::new(dir.join(program));
            command.arg("--double");
            command
        })
        .with_context(|| program.to_owned())?;
        ensure!(steps.len() == 9, "{steps:?}");
        println!("{program}: as the program says at {}", steps.join(", "));
    }
    Ok(())
}

/// The runtime on the driver, both doubles: each byte is counted once, and told by what the program called.
fn the_runtime_on_the_driver() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path();
    driver(dir)?;
    let (runtime, workload) = (source("cuda/runtime_double.c"), source("cuda/runtime.c"));
    let here = ["-Wl,-rpath,$ORIGIN", "-Wl,-rpath-link,."];
    let name = "libcudart.so.12";
    let soname = "-Wl,-soname,libcudart.so.12";
    let library = ["-shared", "-fPIC", soname, "-o", name];
    cc(
        dir,
        &[&library[..], &[&runtime, "./libcuda.so.1", here[0]]].concat(),
    )?;
    cc(
        dir,
        &[
            "-o",
            "program",
            &workload,
            "./libcudart.so.12",
            here[0],
            here[1],
        ],
    )?;
    let steps = observed(&["cuda"], || Command::new(dir.join("program")))?;
    ensure!(steps.len() == 4, "{steps:?}");
    Ok(())
}

/// Calls that `failing.c` makes of each library.
const OF_THE_RUNTIME: usize = 14;
const OF_THE_DRIVER: usize = 15;

/// What the program's calls of the genuine libraries come to, without a GPU.
fn failing(runtimes: &[&str], calls: usize, program: &Path, libraries: &[&Path]) -> Result<()> {
    witness::failing(runtimes, calls, || {
        let mut command = Command::new(program);
        command.args(libraries);
        command
    })
}

fn caller(dir: &Path) -> Result<PathBuf> {
    cc(dir, &["-o", "failing", &source("cuda/failing.c"), "-ldl"])?;
    Ok(dir.join("failing"))
}

/// Two copies of the runtime in one process, as wheels bring them, and no driver.
fn genuine_runtimes_without_a_driver() -> Result<()> {
    let twelve = fetched("cuda/libcudart.so.12")?;
    let thirteen = fetched("cuda/libcudart.so.13")?;
    let directory = tempfile::tempdir()?;
    let program = caller(directory.path())?;
    let runtime = ["cuda-runtime"];
    failing(&runtime, OF_THE_RUNTIME, &program, &[&twelve])?;
    failing(&runtime, OF_THE_RUNTIME, &program, &[&thirteen])?;
    failing(
        &runtime,
        2 * OF_THE_RUNTIME,
        &program,
        &[&twelve, &thirteen],
    )
}

/// The driver is there and finds no device: its own calls fail, and so do the runtime's, before they get to it.
fn a_genuine_driver_without_a_device() -> Result<()> {
    let driver = fetched("cuda/libcuda.so.1")?;
    let runtime = fetched("cuda/libcudart.so.12")?;
    let directory = tempfile::tempdir()?;
    let program = caller(directory.path())?;
    failing(&["cuda"], OF_THE_DRIVER, &program, &[&driver])?;
    failing(
        &["cuda", "cuda-runtime"],
        OF_THE_DRIVER + OF_THE_RUNTIME,
        &program,
        &[&driver, &runtime],
    )
}

/// What the script for a machine with a GPU says, with what it builds in this folder.
fn script(dir: &Path, words: &[&OsStr]) -> Result<Output> {
    let script = |words: &[&OsStr]| -> Result<Output> {
        let mut command = Command::new("python3");
        command.arg(source("cuda/gpu.py")).args(words);
        command.output().context("python3 is needed for this test")
    };
    let output = script(&["--build".as_ref(), dir.as_os_str()])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let _alone = alone();
    let built: [&OsStr; 2] = ["--built".as_ref(), dir.as_os_str()];
    script(&[&built, words, &[binary().as_os_str()]].concat())
}

/// Every workload that this machine can run, on a real GPU: equal to its own statistics.
fn on_a_gpu() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let output = script(directory.path(), &[])?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(77) {
        let why = said.trim().trim_start_matches("not run: ").to_owned();
        return Err(NotRun(why).into());
    }
    ensure!(output.status.success(), "{output:?}");
    println!("{said}");
    Ok(())
}

/// The script itself: on the double it compares every step, and a workload that ends before its time is a failure.
fn the_script_for_a_gpu() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path();
    driver(dir)?;
    let double = dir.join("libcuda.so.1");
    let output = script(dir, &["--double".as_ref(), double.as_os_str()])?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{output:?}");
    ensure!(said.lines().count() == 9, "{said}");
    ensure!(said.lines().all(|line| line.ends_with("equal")), "{said}");
    // A driver with which nothing begins.
    let empty = dir.join("empty");
    std::fs::create_dir(&empty)?;
    let useless = [
        "-shared",
        "-o",
        "empty/libcuda.so.1",
        "-x",
        "c",
        "/dev/null",
    ];
    cc(dir, &useless)?;
    let useless = empty.join("libcuda.so.1");
    let output = script(dir, &["--double".as_ref(), useless.as_os_str()])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.starts_with("driver: FAILED"), "{said}");
    Ok(())
}

memmon_tests::cases![
    the_driver,
    the_runtime_on_the_driver,
    genuine_runtimes_without_a_driver,
    a_genuine_driver_without_a_device,
    on_a_gpu,
    the_script_for_a_gpu,
];
