//! Questions about live allocations. Each is a walk through all of them, so they are answered one
//! at a time, with rests between them, however many ask.

use std::time::Duration;

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use crate::tables::live::{Inspect, LiveAsk, LiveList};

/// How long a question waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct LiveQuestions {
    inspections: mpsc::Sender<Inspect>,
    rested: Mutex<Instant>,
}

impl LiveQuestions {
    pub fn new(inspections: mpsc::Sender<Inspect>) -> Self {
        Self {
            inspections,
            rested: Mutex::new(Instant::now()),
        }
    }

    /// None: not now.
    pub async fn list(&self, ask: LiveAsk) -> Option<LiveList> {
        let mut rested = timeout(PATIENCE, self.rested.lock()).await.ok()?;
        sleep_until(*rested).await;
        let begun = Instant::now();
        let (reply, answer) = oneshot::channel();
        self.inspections.send(Inspect { ask, reply }).await.ok()?;
        let list = answer.await.ok();
        let took = begun.elapsed();
        *rested = begun + took + took.min(LONGEST_REST);
        list
    }
}
