//! The labels of a row, in the order of what they name.

use std::cmp::Ordering;

use super::text;
use crate::{
    tables::{order, snapshot::Process},
    views::pools,
};

/// Of a pool of a device, and of who holds something in it.
///
/// Their order is that of [`order`]; rows of the same pool follow by the rest of their text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    text: String,
    device: Option<i64>,
    /// Where in the text the runtime ends, the device's serial, and the pool.
    ends: [usize; 3],
}

impl Labels {
    /// A label that is not known is left out.
    pub fn of_pool(runtime: &str, device: Option<i64>, uid: Option<&str>, pool: &str) -> Self {
        let mut text = String::with_capacity(160);
        let mut ends = [0; 3];
        text::label(&mut text, "runtime", runtime);
        ends[0] = text.len();
        if let Some(device) = device {
            text::label(&mut text, "device", device);
        }
        if let Some(uid) = uid {
            text::label(&mut text, "device_uid", uid);
        }
        ends[1] = text.len();
        text::label(&mut text, "pool", pool);
        ends[2] = text.len();
        Self { text, device, ends }
    }

    pub fn with_process(mut self, process: &Process) -> Self {
        text::label(&mut self.text, "pid", process.pid);
        text::label(&mut self.text, "comm", &process.comm);
        if process.user.is_some() || process.uid.is_some() {
            let user = pools::user(process.user.as_deref(), process.uid);
            text::label(&mut self.text, "user", user);
        }
        self
    }

    /// An empty pid is none: no process, whatever its name, can look like the rest.
    pub fn with_nobody(mut self) -> Self {
        text::label(&mut self.text, "pid", "");
        text::label(&mut self.text, "comm", "other");
        self
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    fn part(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Of the device, its serial with it: none where nothing is known of it.
    fn place(&self) -> order::Place<'_> {
        let [runtime, device, _] = self.ends;
        let uid = self.part(runtime, device);
        let uid = uid.contains("device_uid=").then_some(uid);
        (self.part(0, runtime), self.device, uid)
    }

    fn pool(&self) -> &str {
        let [_, device, pool] = self.ends;
        let label = self.part(device, pool);
        label
            .strip_prefix(",pool=\"")
            .and_then(|label| label.strip_suffix('"'))
            .unwrap_or(label)
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        order::of_places(self.place(), other.place())
            .then_with(|| order::of_pools(self.pool(), other.pool()))
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_order_of_what_they_name() {
        let of = |runtime, device, uid, pool| Labels::of_pool(runtime, device, uid, pool);
        let sorted = [
            of("cuda", Some(2), None, "DEVICE"),
            of("cuda", Some(10), None, "DEVICE"),
            of("cuda", Some(10), None, "HOST"),
            of("cuda", None, None, "DEVICE"),
            of("tt-metal", Some(0), Some("7"), "DRAM"),
            of("tt-metal", Some(0), Some("7"), "CB"),
            of("tt-metal", Some(0), None, "DRAM"),
            of("tt-metal", None, Some("7"), "DRAM"),
            of("tt-metal", None, None, "DRAM"),
        ];
        for (nth, one) in sorted.iter().enumerate() {
            for (other_nth, other) in sorted.iter().enumerate() {
                assert_eq!(one.cmp(other), nth.cmp(&other_nth), "{one:?} {other:?}");
            }
        }
        let row = sorted[1].clone().with_nobody();
        assert_eq!(
            row.text(),
            "runtime=\"cuda\",device=\"10\",pool=\"DEVICE\",pid=\"\",comm=\"other\""
        );
        assert!(sorted[1] < row && row < sorted[2]);
    }
}
