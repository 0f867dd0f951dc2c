//! `cargo xtask bench`: what observing costs the observed, and how long attaching and quitting take.
//!
//! Everything is measured in one run and in turns (nobody, empty probes, memmon, nobody, …), so that what else the
//! machine does falls on all of them. Medians are compared; every single figure can be printed.

mod cost;
mod drain;
mod follower;
mod hits;
mod idle;
mod observers;
mod parts;
mod quit;
mod scale;
mod start;
mod subject;
mod usage;
mod views;
mod walks;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use self::{
    observers::Programs,
    parts::{Bench, Parts},
    subject::{Subject, Work},
};
use crate::{
    build, fixture, lab, paths,
    shell::{capture, is_root, step},
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

/// Allocating and freeing on the double takes half a microsecond, on the real runtime ten.
const FIXTURE_PAIR: Work = Work::new("allocate + free", "burst", 100_000);
const TTNN_PAIR: Work = Work::new("allocate + free", "pair", 20_000);
const TTNN_ADD: Work = Work::new("ttnn.add", "add", 4_000);

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
    };
    if args.walks {
        return walk(args, &repository, &programs, &built);
    }
    if args.parts.any() {
        println!("{}", machine());
        return args.parts.measure(bench);
    }
    let double = |layout: &str, chips: u32| -> Result<Subject> {
        let program = Command::new(built.join(layout).join("fixture"));
        let plural = if chips == 1 { "" } else { "s" };
        let name = format!("fixture, {layout}, {chips} chip{plural}");
        let mut subject = Subject::start(name, program)?;
        subject.ask(&format!("open chips {chips}"))?;
        Ok(subject)
    };
    let mut stages: Vec<(Stage<'_>, &[Work])> = vec![
        (Box::new(|| double("inline", 1)), &[FIXTURE_PAIR]),
        (Box::new(|| double("pimpl", 1)), &[FIXTURE_PAIR]),
        (Box::new(|| double("pimpl", 8)), &[FIXTURE_PAIR]),
    ];
    if !args.fixture {
        let environment = lab::environment(&paths::cache()?, lab::NEWEST)?;
        let script = repository.join("tests/ttnn/bench.py");
        for (mesh, board) in [("1x1", "n150"), ("1x2", "n300"), ("2x4", "t3k")] {
            let python = environment.python();
            let script = script.clone();
            let works: &[Work] = if board == "n150" {
                &[TTNN_PAIR, TTNN_ADD]
            } else {
                &[TTNN_PAIR]
            };
            let stage = move || {
                let mut program = Command::new(&python);
                program.arg(&script).args(["--mesh", mesh]);
                let mut subject =
                    Subject::start(format!("ttnn {} on {board}", lab::NEWEST), program)?;
                subject.answer()?;
                Ok(subject)
            };
            stages.push((Box::new(stage), works));
        }
    }

    println!("{}", machine());
    let mut all = Vec::new();
    for (start, works) in stages {
        let mut subject = start()?;
        step(&subject.name);
        all.extend(cost::measure(&mut subject, works, &programs, args.rounds)?);
        subject.end()?;
    }
    cost::print(&all, args.raw);
    args.parts.measure(bench)?;
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

type Stage<'a> = Box<dyn Fn() -> Result<Subject> + 'a>;

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
