//! Profiles of libraries that nobody here has the hardware for. They run against stand-ins of ours that have the
//! library's interface (`tests/stubs`): that proves the profiles to be what the public interface says, and nothing
//! about the libraries. Their status says so, too.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    memmon::{Daemon, run},
    record::{Recorded, same, usage_known},
};
use serde_json::Value;

/// The library and a program that uses it.
fn build(dir: &Path, library: &str, program: &str) -> Result<PathBuf> {
    let c = |name: &str| source(&format!("stubs/{name}.c"));
    let file = format!("{library}.so.1");
    let soname = format!("-Wl,-soname,{file}");
    cc(
        dir,
        &[
            "-shared",
            "-fPIC",
            "-pthread",
            &soname,
            "-o",
            &file,
            &c(library),
        ],
    )?;
    let here = "-Wl,-rpath,$ORIGIN";
    cc(dir, &["-pthread", "-o", program, &c(program), &file, here])?;
    Ok(dir.join(program))
}

fn observed(
    library: &str,
    runtime: &str,
    charged: impl Fn(&str, u64) -> Option<u64>,
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let program = build(dir.path(), library, runtime)?;
    // One that runs already makes the library known: it is attached before the next begins.
    let before = Recorded::start(&mut Command::new(&program))?;
    let daemon = Daemon::start(&["--runtime", runtime])?;
    usage_known(&daemon, before.pid())?;
    let observed = Recorded::start(&mut Command::new(&program))?;
    ensure!(observed.said["allocations"] == 150 && observed.said["frees"] == 120);
    same(&daemon, &observed, runtime, charged)?;
    observed.end()?;
    before.end()?;
    // It may be said of no profile here that it is tested.
    let list: Value = serde_json::from_slice(&run(&["profiles", "--format", "json"])?.stdout)?;
    let profiles = list["profiles"].as_array().context("profiles")?;
    let own = profiles.iter().find(|one| one["name"] == runtime);
    let status = own.and_then(|one| one["status"].as_str());
    assert_eq!(status, Some("untested on the real library"));
    Ok(())
}

#[test]
fn neuron() -> Result<()> {
    observed("libnrt", "neuron", |_, bytes| Some(bytes))
}

#[test]
fn habana() -> Result<()> {
    observed("libSynapse", "habana", |pool, bytes| {
        (pool != "IMPORTED").then_some(bytes)
    })
}

#[test]
fn ascend() -> Result<()> {
    observed("libascendcl", "ascend", |pool, bytes| {
        let whole = bytes.next_multiple_of(32);
        Some(if pool == "HOST" { bytes } else { whole })
    })
}
