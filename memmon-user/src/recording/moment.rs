//! A moment of a recording, as people name it.

use std::{str::FromStr, time::Duration};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::reader::Recording;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// On the wall clock, nanoseconds since 1970.
    At(u64),
    AfterStart(Duration),
    BeforeEnd(Duration),
    /// From 0 to 1.
    Share(f64),
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no moment: give a time (2026-01-31T12:00:00Z), +90s from the start, -10s from the end, 50%, start or end"
)]
pub struct NoMoment(String);

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let moment = match text {
            "start" => Some(Self::AfterStart(Duration::ZERO)),
            "end" => Some(Self::BeforeEnd(Duration::ZERO)),
            _ => match text.split_at_checked(1) {
                Some(("+", rest)) => duration(rest).map(Self::AfterStart),
                Some(("-", rest)) => duration(rest).map(Self::BeforeEnd),
                _ => share(text).or_else(|| at(text)),
            },
        };
        moment.ok_or_else(|| NoMoment(text.to_owned()))
    }
}

fn at(text: &str) -> Option<Moment> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos())
        .ok()
        .map(Moment::At)
}

fn share(text: &str) -> Option<Moment> {
    let share = text.strip_suffix('%')?.parse::<f64>().ok()?;
    (0.0..=100.0)
        .contains(&share)
        .then_some(Moment::Share(share / 100.0))
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let number = digits.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}

impl Moment {
    /// Nanoseconds since boot, within the recording; none where it lies outside.
    pub fn of(self, recording: &Recording) -> Option<u64> {
        let (start, end) = (recording.start(), recording.end());
        let length = end.boot_ns.saturating_sub(start.boot_ns);
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let boot_ns = match self {
            Self::At(epoch_ns) => recording.at_epoch(epoch_ns).boot_ns,
            Self::AfterStart(after) => start.boot_ns.saturating_add(nanos(after)),
            Self::BeforeEnd(before) => end.boot_ns.saturating_sub(nanos(before)),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a length is at most that length, and need not be exact"
            )]
            Self::Share(share) => start
                .boot_ns
                .saturating_add((length as f64 * share) as u64)
                .min(end.boot_ns),
        };
        (start.boot_ns..=end.boot_ns)
            .contains(&boot_ns)
            .then_some(boot_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let read = |text: &str| text.parse::<Moment>().ok();
        let seconds = Duration::from_secs_f64;
        assert_eq!(read("+90s"), Some(Moment::AfterStart(seconds(90.0))));
        assert_eq!(read("-1.5m"), Some(Moment::BeforeEnd(seconds(90.0))));
        assert_eq!(read("+250ms"), Some(Moment::AfterStart(seconds(0.25))));
        assert_eq!(read("50%"), Some(Moment::Share(0.5)));
        assert_eq!(read("end"), Some(Moment::BeforeEnd(Duration::ZERO)));
        assert_eq!(
            read("1970-01-01T00:00:01.5Z"),
            Some(Moment::At(1_500_000_000))
        );
        for wrong in [
            "",
            "+",
            "-x",
            "101%",
            "noon",
            "+1y",
            "+-3s",
            "1969-01-01T00:00:00Z",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
