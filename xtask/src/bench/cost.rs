//! What a piece of work costs, observed and not.

use anyhow::Result;

use super::{
    hits::{self, Counting},
    median,
    observers::Programs,
    subject::{Subject, Work},
};

/// In the order of the turns.
const OBSERVERS: [&str; 3] = ["nobody", "empty probes", "memmon-ebpf"];

#[derive(Debug)]
pub struct Cost {
    subject: String,
    work: Work,
    /// Nanoseconds, of every turn, under each observer.
    turns: [Vec<f64>; 3],
    /// Probe hits each time the work was done.
    hits: f64,
    /// Nanoseconds in memmon's program, a hit; the kernel's clock included.
    inside: f64,
}

pub fn measure(
    subject: &mut Subject,
    works: &[Work],
    programs: &Programs,
    rounds: u32,
) -> Result<Vec<Cost>> {
    let mut costs: Vec<Cost> = works
        .iter()
        .map(|work| Cost {
            subject: subject.name.clone(),
            work: *work,
            turns: Default::default(),
            hits: 0.0,
            inside: 0.0,
        })
        .collect();
    let pid = subject.pid();
    for _ in 0..rounds {
        let nobody = programs.alone(pid, || turn(subject, works))?;
        let bare = programs.alone(pid, || {
            let bare = programs.bare(pid)?;
            let times = turn(subject, works)?;
            bare.end().map(|()| times)
        })?;
        let memmon = programs.alone(pid, || {
            let (daemon, _) = programs.memmon(&[])?;
            let times = turn(subject, works)?;
            daemon.end().map(|_| times)
        })?;
        for (observer, times) in [nobody, bare, memmon].into_iter().enumerate() {
            for (cost, ns) in costs.iter_mut().zip(times) {
                cost.turns[observer].push(ns);
            }
        }
    }
    let (daemon, _) = programs.memmon(&[])?;
    let counting = Counting::start()?;
    for cost in &mut costs {
        let before = hits::of_process(daemon.pid())?;
        subject.work(&cost.work, cost.work.count)?;
        let after = hits::of_process(daemon.pid())?;
        let (count, ns) = (after.count - before.count, after.ns - before.ns);
        cost.hits = count as f64 / cost.work.count as f64;
        cost.inside = ns as f64 / count.max(1) as f64;
    }
    drop(counting);
    daemon.end()?;
    Ok(costs)
}

/// Nanoseconds of each work, after a warm-up.
fn turn(subject: &mut Subject, works: &[Work]) -> Result<Vec<f64>> {
    works
        .iter()
        .map(|work| {
            subject.work(work, work.count / 10)?;
            subject.work(work, work.count)
        })
        .collect()
}

pub fn print(costs: &[Cost], raw: bool) {
    println!();
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>8} {:>8} {:>6} {:>9}",
        "nanoseconds of processor time, medians",
        "nobody",
        "empty",
        "memmon",
        "memmon/",
        "memmon/",
        "probe",
        "added by"
    );
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>8} {:>8} {:>6} {:>9}",
        "", "observes", "probes", "observes", "nobody", "empty", "hits", "memmon"
    );
    for cost in costs {
        let [nobody, bare, memmon] = cost.turns.each_ref().map(|turns| median(turns));
        println!(
            "{:<44} {nobody:>9.0} {bare:>9.0} {memmon:>9.0} {:>8.2} {:>8.2} {:>6.2} {:>9.0}",
            format!("{}: {}", cost.subject, cost.work.name),
            memmon / nobody,
            memmon / bare,
            cost.hits,
            memmon - nobody,
        );
    }
    println!();
    println!("per probe hit, nanoseconds (from the medians; the last by the kernel's own count)");
    for cost in costs {
        let [nobody, bare, memmon] = cost.turns.each_ref().map(|turns| median(turns));
        println!(
            "{:<44} empty probe {:>6.0}   memmon-ebpf {:>6.0}   inside its program {:>5.0}",
            format!("{}: {}", cost.subject, cost.work.name),
            (bare - nobody) / cost.hits,
            (memmon - nobody) / cost.hits,
            cost.inside,
        );
    }
    if raw {
        println!();
        for cost in costs {
            for (observer, turns) in OBSERVERS.iter().zip(&cost.turns) {
                let turns: Vec<String> = turns.iter().map(|ns| format!("{ns:.0}")).collect();
                println!(
                    "{}: {}: {observer}: {}",
                    cost.subject,
                    cost.work.name,
                    turns.join(" ")
                );
            }
        }
    }
}
