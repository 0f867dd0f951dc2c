//! What is in a frame: batches. Their events and live allocations stand in columns, all other facts
//! as a line of JSON each, so that a reader of another version still knows them by their names.

use std::io::Write as _;

use super::{
    events,
    format::MAX_PAYLOAD,
    live,
    varint::{Input, Malformed, put, put_bytes},
};
use crate::tables::{Batch, Fact};

/// A run of facts of one kind, by its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Facts,
    Events,
    /// One list of so many live allocations.
    Live,
}

const RUNS: [(Run, u8); 3] = [(Run::Facts, 0), (Run::Events, 1), (Run::Live, 2)];

impl Run {
    fn of(fact: &Fact) -> (Self, usize) {
        match fact {
            Fact::Event(_) => (Self::Events, 1),
            Fact::Live(allocations) => (Self::Live, allocations.len()),
            _ => (Self::Facts, 1),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("a fact could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a frame could not be compressed: {0}")]
    Compress(#[source] std::io::Error),
}

/// Batches as they are before compression.
pub fn write(batches: &[Batch]) -> Result<Vec<u8>, PackError> {
    let mut bytes = Vec::new();
    put(batches.len() as u64, &mut bytes);
    let (mut boot, mut epoch) = (0_u64, 0_u64);
    for batch in batches {
        let passed = batch.boot_ns.wrapping_sub(boot);
        put(passed.cast_signed(), &mut bytes);
        // The wall clock is mostly as far on as the other.
        let drift = batch.epoch_ns.wrapping_sub(epoch.wrapping_add(passed));
        put(drift.cast_signed(), &mut bytes);
        (boot, epoch) = (batch.boot_ns, batch.epoch_ns);
        let runs = runs(&batch.facts);
        put(runs.len() as u64, &mut bytes);
        for (run, count) in runs {
            let number = RUNS
                .iter()
                .find(|(known, _)| *known == run)
                .map_or(0, |(_, number)| *number);
            bytes.push(number);
            put(count as u64, &mut bytes);
        }
    }
    let facts = || batches.iter().flat_map(|batch| &batch.facts);
    let mut lines = Vec::new();
    for fact in facts().filter(|fact| Run::of(fact).0 == Run::Facts) {
        serde_json::to_writer(&mut lines, fact)?;
        lines.push(b'\n');
    }
    put_bytes(&lines, &mut bytes);
    let of_events = facts().filter_map(|fact| match fact {
        Fact::Event(event) => Some(event),
        _ => None,
    });
    events::write(of_events, &mut bytes);
    let of_live = facts().filter_map(|fact| match fact {
        Fact::Live(allocations) => Some(allocations),
        _ => None,
    });
    live::write(of_live.flatten(), &mut bytes);
    Ok(bytes)
}

fn runs(facts: &[Fact]) -> Vec<(Run, usize)> {
    let mut runs: Vec<(Run, usize)> = Vec::new();
    for fact in facts {
        let (run, count) = Run::of(fact);
        match runs.last_mut() {
            // Lists stay apart.
            Some((last, sum)) if *last == run && run != Run::Live => *sum += count,
            _ => runs.push((run, count)),
        }
    }
    runs
}

/// The batches, and how many facts in them are of a kind that is not known here.
pub fn read(bytes: &[u8]) -> Result<(Vec<Batch>, usize), Malformed> {
    let mut input = Input::new(bytes);
    let count = input.count()?;
    let mut shapes = Vec::new();
    let (mut boot, mut epoch) = (0_u64, 0_u64);
    for _ in 0..count {
        let passed = input.take::<i64>()?.cast_unsigned();
        boot = boot.wrapping_add(passed);
        epoch = epoch
            .wrapping_add(passed)
            .wrapping_add(input.take::<i64>()?.cast_unsigned());
        let runs = (0..input.count()?)
            .map(|_| {
                let number = input.byte()?;
                let (run, _) = RUNS
                    .into_iter()
                    .find(|(_, known)| *known == number)
                    .ok_or(Malformed)?;
                let count = usize::try_from(input.take::<u64>()?).map_err(|_| Malformed)?;
                Ok((run, count))
            })
            .collect::<Result<Vec<_>, _>>()?;
        shapes.push((boot, epoch, runs));
    }
    let lines = input.bytes()?;
    let mut lines = lines.split(|byte| *byte == b'\n');
    let mut events = events::read(&mut input)?.into_iter();
    let mut allocations = live::read(&mut input)?.into_iter();
    let mut strange = 0;
    let mut batches = Vec::new();
    for (boot_ns, epoch_ns, runs) in shapes {
        let mut facts = Vec::new();
        for (run, count) in runs {
            match run {
                Run::Facts => {
                    for _ in 0..count {
                        let line = lines.next().filter(|line| !line.is_empty());
                        match serde_json::from_slice(line.ok_or(Malformed)?) {
                            Ok(fact) => facts.push(fact),
                            Err(_) => strange += 1,
                        }
                    }
                }
                Run::Events => {
                    for _ in 0..count {
                        facts.push(Fact::Event(events.next().ok_or(Malformed)?));
                    }
                }
                Run::Live => {
                    let list: Vec<_> = allocations.by_ref().take(count).collect();
                    if list.len() != count {
                        return Err(Malformed);
                    }
                    facts.push(Fact::Live(list));
                }
            }
        }
        batches.push(Batch {
            epoch_ns,
            boot_ns,
            facts,
        });
    }
    Ok((batches, strange))
}

/// Fast, and nearly as small as it gets.
const LEVEL: i32 = 3;

pub fn compress(bytes: &[u8]) -> Result<Vec<u8>, PackError> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL).map_err(PackError::Compress)?;
    encoder.write_all(bytes).map_err(PackError::Compress)?;
    encoder.finish().map_err(PackError::Compress)
}

/// Never more than the frame said, which is never more than a frame may have.
pub fn unpack(packed: &[u8], length: u32) -> Result<Vec<u8>, Malformed> {
    let length = usize::try_from(length.min(MAX_PAYLOAD)).map_err(|_| Malformed)?;
    let bytes = zstd::bulk::decompress(packed, length).map_err(|_| Malformed)?;
    (bytes.len() == length).then_some(bytes).ok_or(Malformed)
}
