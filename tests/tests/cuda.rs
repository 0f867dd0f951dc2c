//! CUDA: all of the profile on a double of the driver's API, and the genuine libraries as far as they go without a GPU.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::witness::{cc, fetched, observed, source};

/// Every function, contexts on two devices, threads, and what fails: linked with the library, and loading it.
#[test]
fn the_driver() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path();
    cc(
        dir,
        &[
            "-shared",
            "-fPIC",
            "-Wl,-soname,libcuda.so.1",
            "-o",
            "libcuda.so.1",
            &source("cuda/double.c"),
            "-lpthread",
        ],
    )?;
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
        ensure!(steps.len() == 8, "{steps:?}");
        println!("{program}: as the program says at {}", steps.join(", "));
    }
    Ok(())
}

/// What the program's calls of the genuine libraries come to, without a GPU: right sizes, and why they failed.
fn failing(runtimes: &[&str], program: &Path, arguments: &[&Path]) -> Result<()> {
    let steps = observed(runtimes, || {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    })?;
    ensure!(steps.len() == 2, "{steps:?}");
    Ok(())
}

fn caller(dir: &Path) -> Result<PathBuf> {
    cc(dir, &["-o", "failing", &source("cuda/failing.c"), "-ldl"])?;
    Ok(dir.join("failing"))
}

/// Two copies of the runtime in one process, as wheels bring them, and no driver.
#[test]
fn genuine_runtimes_without_a_driver() -> Result<()> {
    let (Some(twelve), Some(thirteen)) = (
        fetched("cuda/libcudart.so.12"),
        fetched("cuda/libcudart.so.13"),
    ) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let program = caller(directory.path())?;
    failing(&["cuda-runtime"], &program, &[&twelve])?;
    failing(&["cuda-runtime"], &program, &[&thirteen])?;
    failing(&["cuda-runtime"], &program, &[&twelve, &thirteen])
}

/// The driver is there and finds no device: its own calls fail, and so do the runtime's, before they get to it.
#[test]
fn a_genuine_driver_without_a_device() -> Result<()> {
    let (Some(driver), Some(runtime)) = (
        fetched("cuda/libcuda.so.1"),
        fetched("cuda/libcudart.so.12"),
    ) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let program = caller(directory.path())?;
    failing(&["cuda"], &program, &[&driver])?;
    failing(&["cuda", "cuda-runtime"], &program, &[&driver, &runtime])
}
