//! Time since boot as the kernel's programs tell it, in a time namespace too.

use std::sync::LazyLock;

use nix::time::{ClockId, clock_gettime};

/// What this process's time namespace adds to the host's time since boot, in nanoseconds.
static OFFSET_NS: LazyLock<i64> = LazyLock::new(|| {
    let text = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    offset_ns(&text)
});

fn offset_ns(timens_offsets: &str) -> i64 {
    let mut lines = timens_offsets.lines();
    let offset = lines.find_map(|line| {
        // A number of the clock stands in place of its name before Linux 5.7.
        let mut words = line.split_whitespace();
        matches!(words.next()?, "boottime" | "7").then_some(())?;
        let seconds: i64 = words.next()?.parse().ok()?;
        let nanoseconds: i64 = words.next()?.parse().ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
    });
    offset.unwrap_or_default()
}

/// A time since boot that the kernel told this process, as it is outside its time namespace.
pub fn of_host(ns: u64) -> u64 {
    ns.saturating_add_signed(OFFSET_NS.saturating_neg())
}

/// Nanoseconds since boot, time spent suspended included: no step of the wall clock changes it.
pub fn ns() -> u64 {
    let told = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(|now| {
            u64::try_from(now.tv_sec()).unwrap_or_default() * 1_000_000_000
                + u64::try_from(now.tv_nsec()).unwrap_or_default()
        })
        .unwrap_or_default();
    of_host(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_ns(""), 0);
        assert_eq!(
            offset_ns("monotonic           5         0\nboottime            0         0\n"),
            0
        );
        let text = "monotonic           5         0\nboottime         -100       250\n";
        assert_eq!(offset_ns(text), -99_999_999_750);
    }

    /// The clock of `bpf_ktime_get_boot_ns`: the one that goes on while the machine is suspended.
    #[test]
    fn it_is_not_the_clock_that_stands_still() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
        let apart = seconds - ns() as f64 / 1e9;
        assert!(apart.abs() < 5.0, "{apart} seconds from /proc/uptime");
    }
}
