//! Questions about live allocations: one at a time, and none that anybody waits for.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::tables::live::{Inspect, LiveAsk, LiveList};

/// The same is asked no more often than this: an answer may be long.
const REST: Duration = Duration::from_millis(450);

#[derive(Debug)]
pub struct Questions {
    inspections: mpsc::Sender<Inspect>,
    under_way: Option<oneshot::Receiver<LiveList>>,
    /// What was asked last.
    last: Option<(LiveAsk, Instant)>,
    /// There is something new to ask about.
    is_due: bool,
}

impl Questions {
    pub fn new(inspections: mpsc::Sender<Inspect>) -> Self {
        Self {
            inspections,
            under_way: None,
            last: None,
            is_due: true,
        }
    }

    /// Whether anybody answers at all.
    pub fn are_heard(&self) -> bool {
        !self.inspections.is_closed()
    }

    /// Things have changed: the same question may have another answer.
    pub fn refresh(&mut self) {
        self.is_due = true;
    }

    /// Asks, unless a question is under way, or this one was asked a moment ago.
    pub fn ask(&mut self, ask: Option<LiveAsk>) {
        let Some(ask) = ask.filter(|_| self.under_way.is_none()) else {
            return;
        };
        if let Some((last, at)) = &self.last
            && *last == ask
            && (!self.is_due || at.elapsed() < REST)
        {
            return;
        }
        let (reply, answer) = oneshot::channel();
        let inspect = Inspect {
            ask: ask.clone(),
            reply,
        };
        if self.inspections.try_send(inspect).is_ok() {
            self.under_way = Some(answer);
            self.last = Some((ask, Instant::now()));
            self.is_due = false;
        }
    }

    /// The answer; none where it is "not now". Waits for ever while nothing is asked.
    pub async fn answer(&mut self) -> Option<LiveList> {
        let Some(answer) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let answer = answer.await.ok();
        self.under_way = None;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_the_same_one_not_too_often() {
        let (sender, mut inbox) = mpsc::channel(4);
        let mut questions = Questions::new(sender);
        let ask = || {
            Some(LiveAsk {
                pids: vec![7],
                ..LiveAsk::default()
            })
        };
        questions.ask(ask());
        questions.ask(Some(LiveAsk::default()));
        let first = inbox.recv().await.unwrap();
        assert!(inbox.try_recv().is_err(), "one is under way");
        assert_eq!(first.ask.pids, [7]);
        first.reply.send(LiveList::default()).unwrap();
        assert!(questions.answer().await.is_some());

        questions.ask(ask());
        questions.refresh();
        questions.ask(ask());
        assert!(inbox.try_recv().is_err(), "it was asked just now");
        questions.ask(Some(LiveAsk::default()));
        drop(inbox.try_recv().expect("another one is asked at once"));
        assert!(questions.answer().await.is_none(), "not now");

        tokio::time::sleep(REST).await;
        questions.ask(ask());
        assert!(inbox.try_recv().is_ok());
        drop(inbox);
        assert!(!questions.are_heard());
    }
}
