//! HIP and HSA: the profiles on doubles of both libraries, one on top of the other, and the genuine HIP as far as it goes
//! without a GPU.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    optional::{NotRun, fetched},
    witness::{self, observed},
};

fn doubles(dir: &Path) -> Result<()> {
    let library = ["-shared", "-fPIC", "-lpthread", "-Wl,-rpath,$ORIGIN"];
    let hsa = source("hip/hsa.c");
    let mut arguments = library.to_vec();
    arguments.extend(["-Wl,-soname,libhsa-runtime64.so.1", "-o"]);
    arguments.extend(["libhsa-runtime64.so.1", &hsa]);
    cc(dir, &arguments)?;
    let hip = source("hip/hip.c");
    let mut arguments = library.to_vec();
    arguments.extend(["-Wl,-soname,libamdhip64.so.5", "-o"]);
    arguments.extend(["libamdhip64.so.5", &hip, "./libhsa-runtime64.so.1"]);
    cc(dir, &arguments)
}

/// What HIP takes from HSA is counted once, and what only HIP knows of as well.
fn hip_counts_and_hsa_does_not() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path();
    doubles(dir)?;
    let workload = source("hip/workload.c");
    let here = ["-Wl,-rpath,$ORIGIN", "-Wl,-rpath-link,."];
    cc(
        dir,
        &[
            "-o",
            "hip",
            &workload,
            "./libamdhip64.so.5",
            "-lpthread",
            here[0],
            here[1],
        ],
    )?;
    let steps = observed(&["hip"], || Command::new(dir.join("hip")))?;
    ensure!(steps.len() == 6, "{steps:?}");
    println!("as the program says at {}", steps.join(", "));
    Ok(())
}

fn hsa_counts_where_hip_is_not() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path();
    doubles(dir)?;
    let workload = source("hip/workload.c");
    cc(
        dir,
        &[
            "-DHSA",
            "-o",
            "hsa",
            &workload,
            "./libhsa-runtime64.so.1",
            "-Wl,-rpath,$ORIGIN",
        ],
    )?;
    let steps = observed(&["hsa"], || Command::new(dir.join("hsa")))?;
    ensure!(steps.len() == 3, "{steps:?}");
    Ok(())
}

/// The program of failing calls, from this folder.
fn failing(dir: &Path, library: &Path, beside: &Path) -> Result<()> {
    cc(dir, &["-o", "failing", &source("cuda/failing.c"), "-ldl"])?;
    witness::failing(&["hip"], 13, || {
        let mut command = Command::new(dir.join("failing"));
        command.arg(library).env("LD_LIBRARY_PATH", beside);
        command
    })
}

/// Its calls fail, for want of a GPU.
fn genuine_hip_without_a_device() -> Result<()> {
    let library = fetched("hip/libamdhip64.so.5")?;
    let directory = tempfile::tempdir()?;
    let beside = library.with_file_name("system/usr/lib/x86_64-linux-gnu");
    failing(directory.path(), &library, &beside)
}

/// Where they do not fail, the test is not run: the double stands for a machine with a GPU.
fn failing_calls_that_do_not_fail() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path();
    doubles(dir)?;
    let ended = failing(dir, &dir.join("libamdhip64.so.5"), dir);
    let error = ended.err().context("it was run")?;
    ensure!(error.is::<NotRun>(), "{error:?}");
    Ok(())
}

memmon_tests::cases![
    hip_counts_and_hsa_does_not,
    hsa_counts_where_hip_is_not,
    genuine_hip_without_a_device,
    failing_calls_that_do_not_fail,
];
