//! What a piece of work costs, observed and not.

use std::process::Command;

use anyhow::Result;

use super::{
    cost_table,
    hits::{self, Counting},
    observers::Programs,
    parts::Bench,
    stepped,
    subject::{Subject, Work},
    tools::Tools,
};
use crate::{lab, paths, shell::step};

/// Allocating and freeing on the double takes half a microsecond, on the real runtime ten.
const FIXTURE_PAIR: Work = Work::new("allocate + free", "burst", 100_000);
const TTNN_PAIR: Work = Work::new("allocate + free", "pair", 20_000);
const TTNN_ADD: Work = Work::new("ttnn.add", "add", 4_000);
const TTNN_MATMUL: Work = Work::new("ttnn.matmul", "matmul", 2_000);

/// Who observes, in the order of the turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Nobody,
    Empty,
    Memmon,
    Bpftrace,
    /// It looks at `malloc` and `free`, not at the device; so only at the double, which does little else.
    Memleak,
}

impl Who {
    pub const ALL: [Self; 5] = [
        Self::Nobody,
        Self::Empty,
        Self::Memmon,
        Self::Bpftrace,
        Self::Memleak,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Empty => "empty probes",
            Self::Memmon => "memmon-ebpf",
            Self::Bpftrace => "bpftrace",
            Self::Memleak => "bcc's memleak",
        }
    }
}

/// What was measured under one observer: nanoseconds of every turn, or why there are none.
pub type Turns = Result<Vec<f64>, String>;

#[derive(Debug)]
pub struct Cost {
    pub subject: String,
    pub work: Work,
    pub turns: Vec<(Who, Turns)>,
    /// Probe hits each time the work was done.
    pub hits: f64,
    /// Nanoseconds in memmon's program, a hit; the kernel's clock included.
    pub inside: f64,
}

pub fn measure(bench: Bench<'_>) -> Result<()> {
    let tools = Tools::find(bench.repository);
    let mut all = Vec::new();
    for (layout, chips) in [("inline", 1), ("pimpl", 1), ("pimpl", 8)] {
        let plural = if chips == 1 { "" } else { "s" };
        let name = format!("fixture, {layout}, {chips} chip{plural}");
        let program = Command::new(bench.fixture.join(layout).join("fixture"));
        let mut subject = Subject::start(name, program)?;
        subject.ask(&format!("open chips {chips}"))?;
        all.extend(of_subject(
            subject,
            &[FIXTURE_PAIR],
            &Who::ALL,
            bench,
            &tools,
        )?);
    }
    if !bench.only_fixture {
        let environment = lab::environment(&paths::cache()?, lab::NEWEST)?;
        let script = bench.repository.join("tests/ttnn/bench.py");
        let others = |who: &Who| *who != Who::Memleak;
        let who: Vec<Who> = Who::ALL.into_iter().filter(others).collect();
        for (mesh, board) in [("1x1", "n150"), ("1x2", "n300"), ("2x4", "t3k")] {
            let works: &[Work] = if board == "n150" {
                &[TTNN_PAIR, TTNN_ADD, TTNN_MATMUL]
            } else {
                &[TTNN_PAIR]
            };
            let mut program = Command::new(environment.python());
            program.arg(&script).args(["--mesh", mesh]);
            let name = format!("ttnn {} on {board}", lab::NEWEST);
            let mut subject = Subject::start(name, program)?;
            subject.answer()?;
            all.extend(of_subject(subject, works, &who, bench, &tools)?);
        }
    }
    cost_table::print(&all, bench.raw);
    stepped::measure(bench)
}

fn of_subject(
    mut subject: Subject,
    works: &[Work],
    who: &[Who],
    bench: Bench<'_>,
    tools: &Tools,
) -> Result<Vec<Cost>> {
    step(&subject.name);
    let mut costs: Vec<Cost> = works
        .iter()
        .map(|work| Cost {
            subject: subject.name.clone(),
            work: *work,
            turns: who.iter().map(|who| (*who, Ok(Vec::new()))).collect(),
            hits: 0.0,
            inside: 0.0,
        })
        .collect();
    for _ in 0..bench.rounds {
        for (index, who) in who.iter().enumerate() {
            if costs.iter().any(|cost| cost.turns[index].1.is_err()) {
                continue;
            }
            let times = under(*who, &mut subject, works, bench.programs, tools);
            // What is measured must work; what it is compared with may be missing.
            let is_optional = matches!(who, Who::Bpftrace | Who::Memleak);
            match times {
                Ok(times) => {
                    for (cost, ns) in costs.iter_mut().zip(times) {
                        if let Ok(turns) = &mut cost.turns[index].1 {
                            turns.push(ns);
                        }
                    }
                }
                Err(error) if is_optional => {
                    for cost in &mut costs {
                        cost.turns[index].1 = Err(format!("{error:#}"));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
    count_hits(&mut subject, &mut costs, bench.programs)?;
    subject.end()?;
    Ok(costs)
}

/// A turn of every work while that one observes; nanoseconds each.
fn under(
    who: Who,
    subject: &mut Subject,
    works: &[Work],
    programs: &Programs,
    tools: &Tools,
) -> Result<Vec<f64>> {
    let pid = subject.pid();
    let missing = |why: &String| anyhow::anyhow!("{why}");
    programs.alone(pid, || match who {
        Who::Nobody => turn(subject, works, 1),
        Who::Empty => {
            let bare = programs.bare(pid, &[])?;
            let times = turn(subject, works, 1)?;
            bare.end().map(|()| times)
        }
        Who::Memmon => {
            let (daemon, _) = programs.memmon(&[])?;
            let times = turn(subject, works, 1)?;
            daemon.end().map(|_| times)
        }
        Who::Bpftrace => {
            let bpftrace = tools.bpftrace.as_ref().map_err(missing)?.observe(pid)?;
            let times = turn(subject, works, 1)?;
            bpftrace.stop().map(|()| times)
        }
        Who::Memleak => {
            let memleak = tools.memleak.as_ref().map_err(missing)?.observe(pid)?;
            // Hundreds of times as slow.
            let times = turn(subject, works, 50)?;
            memleak.stop().map(|()| times)
        }
    })
}

/// Nanoseconds of each work, done a `part` of the usual times, after a warm-up.
fn turn(subject: &mut Subject, works: &[Work], part: u64) -> Result<Vec<f64>> {
    works
        .iter()
        .map(|work| {
            subject.work(work, work.count / part / 10)?;
            subject.work(work, work.count / part)
        })
        .collect()
}

fn count_hits(subject: &mut Subject, costs: &mut [Cost], programs: &Programs) -> Result<()> {
    // Of this process alone: others may use the library, too.
    let (daemon, _) = programs.memmon(&["--pid", &subject.pid().to_string()])?;
    let counting = Counting::start()?;
    for cost in costs {
        let before = hits::of_process(daemon.pid())?;
        subject.work(&cost.work, cost.work.count)?;
        let after = hits::of_process(daemon.pid())?;
        let (count, ns) = (after.count - before.count, after.ns - before.ns);
        cost.hits = count as f64 / cost.work.count as f64;
        cost.inside = ns as f64 / count.max(1) as f64;
    }
    drop(counting);
    daemon.end()?;
    Ok(())
}
