//! How often the view is brought up to date.

use std::time::Duration;

/// In milliseconds; as an odd one was asked for, the next of these follows.
const STEPS: [u64; 7] = [100, 250, 500, 1000, 2000, 5000, 10_000];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}

impl Pace {
    pub fn new(every: Duration) -> Self {
        Self { every }
    }

    pub fn every(self) -> Duration {
        self.every
    }

    /// A little earlier than the source's own pace: else its jitter would make us miss every other snapshot.
    pub fn patience(self) -> Duration {
        self.every * 9 / 10
    }

    pub fn faster(&mut self) -> Duration {
        let steps = STEPS.map(Duration::from_millis).into_iter().rev();
        self.go(steps.into_iter().find(|step| *step < self.every))
    }

    pub fn slower(&mut self) -> Duration {
        let steps = STEPS.map(Duration::from_millis).into_iter();
        self.go(steps.into_iter().find(|step| *step > self.every))
    }

    fn go(&mut self, to: Option<Duration>) -> Duration {
        self.every = to.unwrap_or(self.every);
        self.every
    }

    /// `every 250 ms`, `every 2 s`.
    pub fn words(self) -> String {
        let ms = self.every.as_millis();
        if ms.is_multiple_of(1000) {
            format!("every {} s", ms / 1000)
        } else {
            format!("every {ms} ms")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_a_tenth_of_a_second_to_ten() {
        let mut pace = Pace::new(Duration::from_millis(300));
        assert_eq!(pace.faster(), Duration::from_millis(250));
        assert_eq!(pace.faster(), Duration::from_millis(100));
        assert_eq!(pace.faster(), Duration::from_millis(100));
        assert_eq!(pace.words(), "every 100 ms");
        for _ in 0..9 {
            pace.slower();
        }
        assert_eq!(pace.every(), Duration::from_secs(10));
        assert_eq!(pace.words(), "every 10 s");
    }
}
