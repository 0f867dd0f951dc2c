//! Why an allocation failed, in plain words.

use super::units::{Bytes, UNKNOWN};
use crate::{tables::snapshot::Failure, text};

/// What an out-of-memory was really about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is more than the pool has in all.
    TooLarge,
    /// It is more than was free.
    NoRoom,
    /// There was room, but not in one piece.
    Fragmented,
    /// There was room, and in one piece.
    NotRoom,
    /// Not enough is known.
    Unknown,
}

pub fn cause(failure: &Failure) -> Cause {
    let (Some(needed), Some(free)) = (failure.needed_bytes, failure.free_bytes) else {
        return Cause::Unknown;
    };
    if failure
        .capacity_bytes
        .is_some_and(|capacity| needed > capacity)
    {
        return Cause::TooLarge;
    }
    if needed > free {
        return Cause::NoRoom;
    }
    let per_bank = failure.banks.and_then(|banks| needed.checked_div(banks));
    match failure.largest_free_bytes_per_bank.zip(per_bank) {
        Some((largest, needed)) if largest < needed => Cause::Fragmented,
        Some(_) => Cause::NotRoom,
        None => Cause::Unknown,
    }
}

/// `no room: 1.20 GiB asked, 307 MiB free (cudaMalloc returned 2)`
pub fn words(failure: &Failure) -> String {
    let size = |bytes: Option<u64>| Bytes::Human.format_or_unknown(bytes);
    let (asked, needed) = (
        size(Some(failure.requested_bytes)),
        size(failure.needed_bytes),
    );
    let free = size(failure.free_bytes);
    // Padding is only worth a word where it can be seen.
    let asked = if asked == needed || needed == UNKNOWN {
        format!("{asked} asked")
    } else {
        format!("{asked} asked ({needed} with padding)")
    };
    let why = match cause(failure) {
        Cause::TooLarge => format!(
            "too large: {asked}, the pool is {} in all",
            size(failure.capacity_bytes)
        ),
        Cause::NoRoom => format!("no room: {asked}, {free} free"),
        Cause::Fragmented => {
            let banks = failure.banks.unwrap_or(1);
            let place = if banks == 1 {
                "the largest block".to_owned()
            } else {
                format!("the largest block in each of {banks} banks")
            };
            let (largest, needed) = piece(failure);
            format!(
                "fragmented: {asked}, {free} free, but {place} is {largest} where {needed} are needed"
            )
        }
        Cause::NotRoom => {
            let (largest, needed) = piece(failure);
            format!(
                "{asked}, {free} free, {largest} in one piece where {needed} are needed: it was not for want of room"
            )
        }
        Cause::Unknown if failure.free_bytes.is_none() => {
            format!("{asked}; how much was free is not known")
        }
        Cause::Unknown => format!("{asked}, {free} free; how large the blocks were is not known"),
    };
    why + &returned(failure)
}

/// What the call itself said, where that is known.
fn returned(failure: &Failure) -> String {
    let Some(code) = failure.error_code else {
        return String::new();
    };
    let api = failure.api.as_deref().unwrap_or("the call");
    format!(" ({} returned {code})", text::visible(api))
}

/// The largest free block and what was needed, in each bank; to the byte where they would look the
/// same otherwise.
fn piece(failure: &Failure) -> (String, String) {
    let largest = failure.largest_free_bytes_per_bank.unwrap_or_default();
    let banks = failure.banks.unwrap_or(1).max(1);
    let needed = failure.needed_bytes.unwrap_or_default() / banks;
    let human = [largest, needed].map(|bytes| Bytes::Human.format(bytes));
    let [one, other] = if human[0] == human[1] {
        [largest, needed].map(|bytes| format!("{bytes} B"))
    } else {
        human
    };
    (one, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn failure(needed: u64, free: Option<u64>, largest: Option<u64>) -> Failure {
        Failure {
            requested_bytes: needed * MIB,
            needed_bytes: Some(needed * MIB),
            capacity_bytes: Some(12 * 1024 * MIB),
            free_bytes: free.map(|free| free * MIB),
            largest_free_bytes_per_bank: largest.map(|largest| largest * MIB),
            banks: Some(12),
            ..Failure::default()
        }
    }

    #[test]
    fn what_it_was_about() {
        for (failure, expected) in [
            (
                failure(1200, Some(300), Some(25)),
                "no room: 1.17 GiB asked, 300 MiB free",
            ),
            (
                failure(1200, Some(2400), Some(60)),
                "fragmented: 1.17 GiB asked, 2.34 GiB free, but the largest block in each of 12 banks is 60.0 MiB \
                 where 100 MiB are needed",
            ),
            (
                failure(20_000, Some(2400), Some(60)),
                "too large: 19.5 GiB asked, the pool is 12.0 GiB in all",
            ),
            (
                failure(1200, Some(2400), Some(200)),
                "1.17 GiB asked, 2.34 GiB free, 200 MiB in one piece where 100 MiB are needed: it was not for want of room",
            ),
            (
                failure(1200, Some(2400), None),
                "1.17 GiB asked, 2.34 GiB free; how large the blocks were is not known",
            ),
            (
                failure(1200, None, None),
                "1.17 GiB asked; how much was free is not known",
            ),
        ] {
            assert_eq!(words(&failure), expected);
        }
    }

    #[test]
    fn padding_and_near_misses_are_seen() {
        let padded = Failure {
            requested_bytes: 1000,
            ..failure(12, Some(6), Some(1))
        };
        assert_eq!(
            words(&padded),
            "no room: 1000 B asked (12.0 MiB with padding), 6.00 MiB free"
        );
        let near = Failure {
            largest_free_bytes_per_bank: Some(100 * MIB - 32),
            banks: Some(1),
            ..failure(100, Some(200), None)
        };
        assert_eq!(
            words(&near),
            "fragmented: 100 MiB asked, 200 MiB free, but the largest block is 104857568 B where 104857600 B are needed"
        );
    }
}
