//! Where the view gets what it shows: an observation, a daemon, or a recording.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use crate::{
    server::Link,
    tables::{live::Inspect, snapshot::Snapshot},
};

#[derive(Debug)]
pub struct Source {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Answers questions about live allocations.
    pub inspections: mpsc::Sender<Inspect>,
    /// Of a daemon: whether it is there.
    pub link: Option<watch::Receiver<Link>>,
    /// Of a recording: the moment that is shown, and how to go to another.
    pub time: Option<TimeControl>,
}

#[derive(Debug)]
pub struct TimeControl {
    pub wishes: mpsc::Sender<TimeWish>,
    pub state: watch::Receiver<TimeState>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimeWish {
    PlayOrPause,
    /// So many events, back where negative.
    StepEvents(i64),
    Forward(Duration),
    Back(Duration),
    /// To the next failure, ending or notice; to the one before where false.
    Incident(bool),
    Faster,
    Slower,
    Start,
    End,
}

/// Times are the wall clock's, nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeState {
    pub start_ns: u64,
    pub end_ns: u64,
    pub now_ns: u64,
    pub playing: bool,
    /// 1: as it happened.
    pub speed: f64,
    /// The event that was stepped to, in words.
    pub event: Option<String>,
    /// What the reader should know of the recording: that its end is cut off, that it has gaps.
    pub notes: Vec<String>,
    /// Counts the leaps to another moment, for which `past` is anew.
    pub leaps: u64,
    /// What a line of history needs after a leap: snapshots of the minutes before it and of itself,
    /// oldest first.
    pub past: Arc<Vec<Arc<Snapshot>>>,
}
