//! What the daemon itself takes, over time; and whether that grows.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use memmon_tests::maps::{Entries, Maps};

#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Duration,
    /// KiB of its own memory: anonymous pages. What is mapped of files and of rings is not among it.
    pub memory: f64,
    pub descriptors: f64,
    pub threads: f64,
    /// KiB of kernel memory in its maps.
    pub maps: f64,
    pub entries: Entries,
    /// Seconds of processor time, all in all.
    pub processor: f64,
}

pub fn sample(pid: u32, start: Instant) -> Result<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next());
        value
            .with_context(|| format!("no {name}"))?
            .parse()
            .context("a number")
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = rest.split(' ').skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    let maps = Maps::of(pid)?;
    Ok(Sample {
        at: start.elapsed(),
        memory: field("RssAnon:")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64,
        threads: field("Threads:")?,
        maps: maps.bytes() as f64 / 1024.0,
        entries: maps.counts()?,
        processor: ticks / 100.0,
    })
}

/// Whether something stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    pub first: f64,
    pub median: f64,
    pub most: f64,
    pub last: f64,
    /// A minute, by a fit through all samples after the warm-up.
    pub slope: f64,
    /// What that comes to over the time it was fitted over.
    pub growth: f64,
    /// So much may be chance: twice the middle distance of the samples from the fit, and what the caller grants.
    pub allowed: f64,
}

/// In less time nothing can be said: processes that ended are remembered for a minute, so what they take rises for as
/// long, and an allocator takes longer to find its level.
pub const LEAST: Duration = Duration::from_secs(600);

impl Trend {
    /// Over the samples after the warm-up: the first third, two minutes at the most.
    pub fn of(samples: &[Sample], what: fn(&Sample) -> f64, granted: f64) -> Option<Self> {
        let last = samples.last()?;
        let warm = (last.at / 3).min(Duration::from_secs(120));
        let points: Vec<(f64, f64)> = samples
            .iter()
            .filter(|sample| sample.at >= warm)
            .map(|sample| (sample.at.as_secs_f64() / 60.0, what(sample)))
            .collect();
        let (first, end) = (points.first()?, points.last()?);
        let slope = slope(&points);
        let middle = median(points.iter().map(|(x, y)| y - slope * x).collect());
        let distances = points.iter().map(|(x, y)| (y - slope * x - middle).abs());
        Some(Self {
            first: samples.first().map_or(0.0, what),
            median: median(points.iter().map(|(_, y)| *y).collect()),
            most: points.iter().map(|(_, y)| *y).fold(0.0, f64::max),
            last: what(last),
            slope,
            growth: slope * (end.0 - first.0),
            allowed: granted + 2.0 * median(distances.collect()),
        })
    }

    pub fn is_flat(&self) -> bool {
        self.growth <= self.allowed
    }
}

/// The median of the slopes between all pairs of points (Theil-Sen): a few points far off do not move it.
fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (index, (x, y)) in points.iter().enumerate() {
        for (later, value) in &points[index + 1..] {
            if later > x {
                slopes.push((value - y) / (later - x));
            }
        }
    }
    median(slopes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
