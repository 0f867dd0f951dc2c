//! A soak: real and fixture load under one daemon, compared with the allocators' own numbers all the while.
//!
//! `cargo xtask soak [--minutes N]` builds what it needs and runs it, as root. It ends by itself, or at Ctrl-C, prints
//! what it found, and fails where a number differed, where something else went wrong, or where the daemon grew.

mod chance;
mod clients;
mod fixture_loads;
mod judge;
mod report;
mod resources;
mod ttnn_loads;

use std::{
    os::unix::process::CommandExt as _,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use memmon_tests::{fixture::Layout, lab, memmon::Daemon, prometheus::free_port};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use judge::Judge;
use resources::Sample;

/// Asked to end by a signal.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What every load has.
#[derive(Debug)]
pub struct Stage {
    pub judge: Judge,
    until: Instant,
}

impl Stage {
    pub fn is_over(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed) || Instant::now() >= self.until
    }
}

extern "C" fn interrupt(_: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

fn main() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let minutes: f64 = words.next().context("soak MINUTES [SEED]")?.parse()?;
    let seed: u64 = words.next().map_or(Ok(1), |word| word.parse())?;
    let versions = lab::versions()?;
    let action = SigAction::new(
        SigHandler::Handler(interrupt),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe { sigaction(signal, &action) }?;
    }

    let port = free_port()?;
    let daemon = Daemon::start_in(
        tempfile::tempdir()?,
        |command| {
            command.process_group(0);
        },
        &["--metrics", &port.to_string()],
    )?;
    let pid = daemon.pid();
    let start = Instant::now();
    let stage = Stage {
        judge: Judge::new(&daemon.socket()),
        until: start + Duration::from_secs_f64(minutes * 60.0),
    };
    let mut samples = vec![resources::sample(pid, start)?];
    thread::scope(|scope| {
        let stage = &stage;
        let loads = loads(&versions, port, seed);
        let running: Vec<_> = loads
            .into_iter()
            .map(|(name, load)| scope.spawn(move || again(stage, &name, load.as_ref())))
            .collect();
        watch(stage, pid, start, &mut samples);
        let patience = Instant::now() + Duration::from_secs(120);
        while running.iter().any(|load| !load.is_finished()) {
            if Instant::now() > patience {
                eprintln!("a load does not end");
                // Its program ends with its input.
                std::process::exit(1);
            }
            sleep(Duration::from_millis(50));
        }
    });
    let took = start.elapsed();
    let end = settle(&stage, pid, start, samples.last())?;
    let health = stage.judge.snapshot(&[])?.health;
    daemon.terminate()?;
    let good = report::print(&stage.judge, &health, &samples, &end, took);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

type Load = Box<dyn Fn(&Stage) -> Result<()> + Send + Sync>;

fn loads(versions: &[String], port: u16, seed: u64) -> Vec<(String, Load)> {
    let mut loads: Vec<(String, Load)> = Vec::new();
    let mut add = |name: &str, load: Load| loads.push((name.to_owned(), load));
    for (index, layout) in [Layout::Inline, Layout::Pimpl].into_iter().enumerate() {
        let number = 20 * index as u64;
        let seed = seed * 100 + number;
        for (offset, chips) in [(0, 1), (1, 2), (3, 8)] {
            add(
                "everything",
                Box::new(move |stage| {
                    fixture_loads::mixed(stage, layout, chips, 100 + number + offset, seed + offset)
                }),
            );
        }
        let first = 100 + number + 11;
        add(
            "hoard",
            Box::new(move |stage| fixture_loads::hoard(stage, layout, first, seed + 4)),
        );
        add(
            "bursts",
            Box::new(move |stage| fixture_loads::bursts(stage, layout, first + 1, seed + 5)),
        );
        add(
            "short lives",
            Box::new(move |stage| fixture_loads::brief(stage, layout, first + 3, seed + 6)),
        );
        add(
            "own copies",
            Box::new(move |stage| fixture_loads::copies(stage, layout, first + 4, seed + 7)),
        );
    }
    for (index, version) in versions.iter().enumerate() {
        let seed = seed * 100 + 50 + 10 * index as u64;
        for (script, args, dies) in [
            ("workload.py", &[][..], false),
            ("workload.py", &["--mesh", "1x2", "--submesh"], false),
            ("soak.py", &[], true),
            ("soak.py", &["--mesh", "1x2"], true),
            ("threads.py", &["--rounds", "4"], true),
        ] {
            let version = version.clone();
            add(
                "ttnn",
                Box::new(move |stage| {
                    ttnn_loads::follow(stage, &version, script, args, dies, seed)
                }),
            );
        }
        let version = version.clone();
        add(
            "ttnn fork",
            Box::new(move |stage| ttnn_loads::forks(stage, &version)),
        );
    }
    add(
        "clients",
        Box::new(move |stage| clients::come_and_go(stage, port, seed + 1)),
    );
    add(
        "recordings",
        Box::new(move |stage| clients::recordings(stage, seed + 2)),
    );
    loads
}

/// A load that fails is told, and starts anew.
fn again(stage: &Stage, name: &str, load: &(dyn Fn(&Stage) -> Result<()> + Send + Sync)) {
    while !stage.is_over() {
        if let Err(error) = load(stage) {
            stage.judge.failed(name, &error);
            sleep(Duration::from_secs(1));
        }
    }
}

/// Samples what the daemon takes, until all is over; says now and then how it goes.
fn watch(stage: &Stage, pid: u32, start: Instant, samples: &mut Vec<Sample>) {
    const EVERY: Duration = Duration::from_secs(5);
    let mut next = Instant::now() + EVERY;
    while !stage.is_over() {
        sleep(Duration::from_millis(100));
        if Instant::now() < next {
            continue;
        }
        next += EVERY;
        match resources::sample(pid, start) {
            Ok(sample) => samples.push(sample),
            Err(error) => stage.judge.failed("the daemon", &error),
        }
        if samples.len().is_multiple_of(12) {
            report::progress(&stage.judge, start.elapsed());
        }
    }
}

/// When all programs have ended, and memmon has forgotten them: what is left in its maps. None where that was not
/// waited for.
fn settle(
    stage: &Stage,
    pid: u32,
    start: Instant,
    last: Option<&Sample>,
) -> Result<report::Settled> {
    const FORGOTTEN_AFTER: Duration = Duration::from_secs(63);
    // Of others here, which this has not started.
    let until = Instant::now() + FORGOTTEN_AFTER;
    let interrupted = INTERRUPTED.swap(false, Ordering::Relaxed);
    while !interrupted && Instant::now() < until && !INTERRUPTED.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(100));
    }
    let waited = Instant::now() >= until;
    let others = stage.judge.snapshot(&[])?.processes.len();
    let sample = resources::sample(pid, start)?;
    Ok(report::Settled {
        waited,
        others,
        before: last.copied(),
        sample,
    })
}
