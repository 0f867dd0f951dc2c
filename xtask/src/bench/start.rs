//! How long it takes to understand a real library; and, from the start, to the first true snapshot.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{median, parts::Bench, scratch, subject::Subject};
use crate::{
    build, lab, paths,
    shell::{capture, run},
};

pub fn measure(bench: Bench<'_>) -> Result<()> {
    let cache = paths::cache()?;
    let environment = lab::environment(&cache, lab::NEWEST)?;
    let libraries = lab::libraries_of(&cache, &[(lab::NEWEST, &environment)])?;
    let library = libraries.join(lab::NEWEST).join("libtt_metal.so");
    println!();
    let resolve = build::example(bench.repository, "resolve")?;
    run(Command::new(resolve).arg(&library))?;

    println!();
    println!(
        "{:<60} {:>12} {:>12}",
        "from the start to the first true snapshot, ms", "-q", "serve"
    );
    let mut program = Command::new(environment.python());
    program
        .arg(bench.repository.join("tests/ttnn/hold.py"))
        .args(["256", "L1:1"]);
    let mut holder = Subject::start("hold.py".to_owned(), program)?;
    holder.answer()?;
    line(
        bench,
        &format!("a ttnn {} process", lab::NEWEST),
        &[holder.pid()],
    )?;
    let doubles = doubles(bench, 10)?;
    let pids: Vec<u32> = doubles.iter().map(Subject::pid).collect();
    line(bench, "10 processes on the double", &pids)?;
    drop(doubles);
    for count in [1, 10] {
        let (_folder, path) = scratch()?;
        let subjects = mappers(bench, &library, &path, count)?;
        let pids: Vec<u32> = subjects.iter().map(Subject::pid).collect();
        let name = format!(
            "{count} that map{} a copy of that library of their own",
            if count == 1 { "s" } else { "" }
        );
        line(bench, &name, &pids)?;
    }
    drop(holder);
    Ok(())
}

fn line(bench: Bench<'_>, name: &str, pids: &[u32]) -> Result<()> {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let pids = pids.join(",");
    let mut looks = Vec::new();
    let mut serves = Vec::new();
    for _ in 0..bench.rounds {
        let start = Instant::now();
        capture(
            Command::new(&bench.programs.memmon).args(["-q", "--format", "json", "-p", &pids]),
        )?;
        looks.push(milliseconds(start.elapsed()));
        let start = Instant::now();
        let (daemon, _) = bench.programs.memmon(&["--pid", &pids])?;
        daemon.snapshot(&bench.programs.memmon)?;
        serves.push(milliseconds(start.elapsed()));
        daemon.end()?;
    }
    println!(
        "{name:<60} {:>12.0} {:>12.0}",
        median(&looks),
        median(&serves)
    );
    Ok(())
}

fn doubles(bench: Bench<'_>, count: u32) -> Result<Vec<Subject>> {
    (0..count)
        .map(|_| {
            let program = Command::new(bench.fixture.join("pimpl/fixture"));
            let mut subject = Subject::start("fixture".to_owned(), program)?;
            subject.ask("alloc a DRAM 1048576 2048")?;
            Ok(subject)
        })
        .collect()
}

/// Processes that have a library file of their own in memory, as programs in containers do.
fn mappers(bench: Bench<'_>, library: &Path, folder: &Path, count: u32) -> Result<Vec<Subject>> {
    (0..count)
        .map(|number| {
            let own = folder.join(number.to_string());
            std::fs::create_dir(&own)?;
            let copy: PathBuf = own.join("libtt_metal.so");
            std::fs::copy(library, &copy)
                .with_context(|| format!("cannot copy {}", library.display()))?;
            let program = Command::new(bench.fixture.join("pimpl/fixture-dlopen"));
            let mut subject = Subject::start("mapper".to_owned(), program)?;
            subject.ask(&format!("map {}", copy.display()))?;
            Ok(subject)
        })
        .collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
