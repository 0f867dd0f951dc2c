//! `cargo xtask bench`: what observing costs the observed, and how long attaching and quitting take.
//!
//! Everything is measured in one run and in turns (nobody, empty probes, memmon, other tools, nobody, …), so that what
//! else the machine does falls on all of them. Medians are compared; every single figure can be printed.

mod cost;
mod cost_table;
mod drain;
mod follower;
mod hits;
mod idle;
mod observers;
mod parts;
mod quit;
mod scale;
mod start;
mod stepped;
mod subject;
mod tools;
mod usage;
mod views;
mod walks;

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use self::{
    observers::Programs,
    parts::{Bench, Parts},
    subject::Subject,
};
use crate::{
    build, fixture, lab, paths,
    shell::{capture, is_root},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Turns of each measurement
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Not on the real runtime, only on its double
    #[arg(long)]
    fixture: bool,
    /// Processes with a copy of the library each, to attach to and to quit from
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    copies: u32,
    /// Only what looking costs (a frame, a client, a scrape), which needs no root
    #[arg(long)]
    views: bool,
    /// Only what walking through processes takes: `-q`, attaching to them, audits
    #[arg(long)]
    walks: bool,
    #[command(flatten)]
    parts: Parts,
    /// Print the figure of every turn too
    #[arg(long)]
    raw: bool,
}

/// Where `-q` looks for one first.
const DAEMON: &str = "/run/memmon-ebpf.sock";

pub fn main(args: &Args) -> Result<()> {
    let repository = paths::repository()?;
    if args.views {
        return views::measure(&repository);
    }
    if !is_root() {
        bail!(
            "placing probes needs root, and through sudo it would distort what is measured: run this as root \
             (`sudo --preserve-env=HOME,PATH $(command -v cargo) xtask bench`)"
        );
    }
    if UnixStream::connect(DAEMON).is_ok() {
        // `-q` would ask it, and not look by itself; and its probes would be paid for.
        bail!("a daemon answers at {DAEMON}: stop it first");
    }
    let programs = Programs {
        memmon: build::release(&repository)?,
        bare: build::example(&repository, "bare_probes")?,
    };
    let built = fixture::build(&repository)?;
    let bench = Bench {
        repository: &repository,
        programs: &programs,
        fixture: &built,
        copies: args.copies,
        rounds: args.rounds,
        only_fixture: args.fixture,
        raw: args.raw,
    };
    if args.walks {
        return walk(args, &repository, &programs, &built);
    }
    println!("{}", machine());
    args.parts.measure(bench)?;
    if args.parts.any() {
        return Ok(());
    }
    views::measure(&repository)
}

/// On ten processes of each kind, which hold a few hundred buffers or what a small model does.
fn walk(args: &Args, repository: &Path, programs: &Programs, built: &Path) -> Result<()> {
    println!("{}", machine());
    let double = || {
        let program = Command::new(built.join("pimpl").join("fixture"));
        let mut subject = Subject::start("fixture".to_owned(), program)?;
        subject.ask("open chips 2")?;
        subject.ask("leak 300 8192")?;
        Ok(subject)
    };
    let mut kinds: Vec<(&str, &dyn Fn() -> Result<Subject>)> = vec![("fixture", &double)];
    let environment;
    let script = repository.join("tests/ttnn/hold.py");
    let real;
    if !args.fixture {
        environment = lab::environment(&paths::cache()?, lab::NEWEST)?;
        real = || {
            let mut program = Command::new(environment.python());
            program.arg(&script).args(["64", "32", "L1:1"]);
            let mut subject = Subject::start(format!("ttnn {}", lab::NEWEST), program)?;
            subject.answer()?;
            Ok(subject)
        };
        kinds.push(("ttnn", &real));
    }
    walks::measure(programs, &kinds, &[1, 10], args.rounds)
}

/// What it ran on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([':', '\t', ' ']).to_owned())
        .unwrap_or_else(|| "x86-64".to_owned());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = capture(Command::new("uname").arg("-r")).unwrap_or_default();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "Linux {}, {cpus} CPUs ({model}), load {load}",
        kernel.trim()
    )
}

/// The median; of nothing, 0.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count.is_multiple_of(2) => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
        count => sorted[count / 2],
    }
}

/// A scratch folder that goes away by itself.
fn scratch() -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::Builder::new().prefix("memmon-bench-").tempdir()?;
    let path = folder.path().to_path_buf();
    Ok((folder, path))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
