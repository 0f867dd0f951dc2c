//! What is printed at the end.

use std::time::Duration;

use memmon::tables::snapshot::Health;

use crate::{
    judge::{Judge, Score},
    resources::{self, Sample, Trend},
};

/// When everything has ended.
#[derive(Debug)]
pub struct Settled {
    /// Whether the time was waited for after which memmon forgets.
    pub waited: bool,
    /// Processes that memmon still shows: not of this soak.
    pub others: usize,
    pub before: Option<Sample>,
    pub sample: Sample,
}

pub fn progress(judge: &Judge, elapsed: Duration) {
    let total = total(judge);
    eprintln!(
        "{:>6.1} min: {} programs, {} comparisons, {} mismatches, {} errors",
        elapsed.as_secs_f64() / 60.0,
        total.programs,
        total.comparisons,
        total.mismatches,
        total.errors
    );
}

fn total(judge: &Judge) -> Score {
    judge
        .scores()
        .values()
        .fold(Score::default(), |mut sum, score| {
            sum.programs += score.programs;
            sum.comparisons += score.comparisons;
            sum.numbers += score.numbers;
            sum.unplaced += score.unplaced;
            sum.mismatches += score.mismatches;
            sum.errors += score.errors;
            sum
        })
}

/// True where all is well.
pub fn print(
    judge: &Judge,
    health: &Health,
    samples: &[Sample],
    settled: &Settled,
    took: Duration,
) -> bool {
    println!();
    println!(
        "{:<46} {:>9} {:>12} {:>10} {:>11} {:>10}",
        format!("{:.1} minutes", took.as_secs_f64() / 60.0),
        "programs",
        "comparisons",
        "numbers",
        "mismatches",
        "device ?"
    );
    let sum = total(judge);
    for (name, score) in judge
        .scores()
        .iter()
        .map(|(name, score)| (name.as_str(), score))
    {
        line(name, score);
    }
    line("together", &sum);
    println!();
    println!(
        "events: {} ({:.0} a second); history of {} lost; failed reads {}, unknown frees {}, inherited frees {}",
        health.events,
        health.events as f64 / took.as_secs_f64(),
        health.lost_events,
        health.failed_reads,
        health.unknown_frees,
        health.inherited_frees,
    );
    for note in &health.notes {
        println!("note: {note}");
    }
    let is_flat = judge_resources(samples, settled);
    let complaints = judge.complaints();
    for complaint in complaints.iter().take(20) {
        println!("{}", complaint.lines().next().unwrap_or_default());
    }
    if complaints.len() > 20 {
        println!("and {} more", complaints.len() - 20);
    }
    let good =
        is_flat && complaints.is_empty() && health.unknown_frees == 0 && health.failed_reads == 0;
    println!("{}", if good { "all is well" } else { "NOT WELL" });
    good
}

fn line(name: &str, score: &Score) {
    println!(
        "{name:<46} {:>9} {:>12} {:>10} {:>11} {:>10}{}",
        score.programs,
        score.comparisons,
        score.numbers,
        score.mismatches,
        score.unplaced,
        if score.errors > 0 {
            format!("  and {} errors", score.errors)
        } else {
            String::new()
        }
    );
}

/// Its name, how it is read, and how much growth is granted.
type Kind = (&'static str, fn(&Sample) -> f64, f64);

/// Whether nothing grew.
fn judge_resources(samples: &[Sample], settled: &Settled) -> bool {
    println!();
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>9} {:>9} {:>12} {:>9} {:>9}",
        "the daemon", "start", "median", "most", "last", "settled", "a minute", "growth", "allowed"
    );
    let is_long = samples
        .last()
        .is_some_and(|sample| sample.at >= resources::LEAST);
    let mut is_flat = true;
    let kinds: [Kind; 5] = [
        // Of memory that is used again and again, an allocator keeps some more now and then.
        ("memory, KiB", |sample| sample.memory, 512.0),
        ("open files", |sample| sample.descriptors, 0.5),
        ("threads", |sample| sample.threads, 0.5),
        ("kernel maps, KiB", |sample| sample.maps, 64.0),
        ("map entries", |sample| sample.entries.sum() as f64, 100.0),
    ];
    for (name, what, granted) in kinds {
        let Some(trend) = Trend::of(samples, what, granted) else {
            continue;
        };
        println!(
            "{name:<26} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>12.2} {:>9.0} {:>9.0}{}",
            trend.first,
            trend.median,
            trend.most,
            trend.last,
            what(&settled.sample),
            trend.slope,
            trend.growth,
            trend.allowed,
            match (trend.is_flat(), is_long) {
                (true, _) => "",
                (false, true) => "  GROWS",
                (false, false) => "  not judged, in so short a time",
            }
        );
        is_flat &= trend.is_flat() || !is_long;
    }
    if let (Some(first), Some(last)) = (samples.first(), &settled.before) {
        let share = (last.processor - first.processor) / (last.at - first.at).as_secs_f64();
        println!("processor: {:.1} % of one", 100.0 * share);
    }
    let left = settled.sample.entries;
    match (settled.waited, settled.others) {
        (true, 0) => {
            println!("left in the maps when all had ended and were forgotten: {left:?}");
            is_flat &= left.sum() == 0;
        }
        (true, others) => println!(
            "left in the maps: {left:?}; not judged, since {others} processes that are not of this soak are observed"
        ),
        (false, _) => println!("left in the maps: {left:?}; not judged, since it was interrupted"),
    }
    is_flat
}
