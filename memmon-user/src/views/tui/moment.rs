//! Moments and spans of time, as snapshots name them and as people read them.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Of an RFC 3339 time: milliseconds since 1970.
pub fn millis(time: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(time, &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

/// How much later the second moment is; none where it is not, or one of them is none.
pub fn between(earlier: &str, later: &str) -> Option<Duration> {
    let elapsed = millis(later)?.checked_sub(millis(earlier)?)?;
    Some(Duration::from_millis(elapsed))
}

/// `12:00:00 UTC` of an RFC 3339 time.
pub fn clock(time: &str) -> Option<String> {
    let (_, clock) = time.split_once('T')?;
    let zone = if clock.ends_with('Z') { " UTC" } else { "" };
    let clock = clock.get(..8)?;
    let plain = clock.bytes().all(|b| b.is_ascii_digit() || b == b':');
    plain.then(|| format!("{clock}{zone}"))
}

/// `12:00:00 UTC` of nanoseconds since 1970.
pub fn words_of_nanos(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000 % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}

/// A span in two parts at most, six cells at most: `8s`, `3m05s`, `2h07m`, `4d11h`, `900d`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match days {
        0 if hours > 0 => format!("{hours}h{:02}m", minutes % 60),
        0 if minutes > 0 => format!("{minutes}m{:02}s", seconds % 60),
        0 => format!("{seconds}s"),
        1..100 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(millis("1970-01-01T00:00:01.500Z"), Some(1500));
        assert_eq!(millis("yesterday"), None);
        assert_eq!(
            between("2026-01-31T12:00:00Z", "2026-01-31T12:00:01.25Z"),
            Some(Duration::from_millis(1250))
        );
        assert_eq!(
            between("2026-01-31T12:00:01Z", "2026-01-31T12:00:00Z"),
            None
        );
        assert_eq!(
            clock("2026-01-31T12:34:56.789Z").as_deref(),
            Some("12:34:56 UTC")
        );
        assert_eq!(
            words_of_nanos(86_400_000_000_000 * 9 + 45_296_789_000_000),
            "12:34:56 UTC"
        );
        assert_eq!(clock("T\u{1b}[2J0000"), None);
    }

    #[test]
    fn spans_stay_short() {
        for (seconds, words) in [
            (0, "0s"),
            (59, "59s"),
            (185, "3m05s"),
            (7_620, "2h07m"),
            (385_200, "4d11h"),
            (86_400 * 900, "900d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }
}
