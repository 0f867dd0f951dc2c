//! Questions that are each a walk through much: live allocations, processes' memory. They are answered
//! one at a time, with rests between them, however many ask.

use std::time::Duration;

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

const LONGEST_REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Turns<Q> {
    questions: mpsc::Sender<Q>,
    /// How long a question waits for its turn.
    patience: Duration,
    rested: Mutex<Instant>,
}

impl<Q> Turns<Q> {
    pub fn new(questions: mpsc::Sender<Q>, patience: Duration) -> Self {
        Self {
            questions,
            patience,
            rested: Mutex::new(Instant::now()),
        }
    }

    /// The answer to what is asked with this place for it. None: not now.
    pub async fn ask<A>(&self, question: impl FnOnce(oneshot::Sender<A>) -> Q) -> Option<A> {
        let mut rested = timeout(self.patience, self.rested.lock()).await.ok()?;
        sleep_until(*rested).await;
        let begun = Instant::now();
        let (reply, answer) = oneshot::channel();
        self.questions.send(question(reply)).await.ok()?;
        let answer = answer.await.ok();
        let took = begun.elapsed();
        *rested = begun + took + took.min(LONGEST_REST);
        answer
    }
}
