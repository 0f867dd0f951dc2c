//! Draws up a snapshot once for everybody who waits for one, and prints it once for all who see the
//! same of it. Whatever clients do, no more than one is drawn up at a time, and two are printed: one
//! that many see, and one for somebody's own filter.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex as Lock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, OnceCell, Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    protocol::{Answer, frame},
    visibility::Sight,
};
use crate::{
    observe::Request,
    tables::{Filter, snapshot::Snapshot},
};

/// The longest rest between two editions.
const LONGEST_REST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Press {
    requests: mpsc::Sender<Request>,
    /// What is observed at all.
    scope: Filter,
    latest: Mutex<Option<Latest>>,
    /// In turns; who wants all of it does not wait until everybody's own part is printed.
    printing: Semaphore,
    printing_whole: Semaphore,
}

#[derive(Debug)]
struct Latest {
    edition: Arc<Edition>,
    /// Drawing up takes no more than half of the observer's time, however many ask.
    rested: Instant,
}

/// A snapshot, and what was printed of it.
#[derive(Debug)]
pub struct Edition {
    begun: Instant,
    pub snapshot: Arc<Snapshot>,
    running: HashSet<u32>,
    copies: Lock<HashMap<Copy, Arc<OnceCell<Bytes>>>>,
}

/// What of an edition someone gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Copy {
    filter: Filter,
    sight: Sight,
}

impl Press {
    pub fn new(requests: mpsc::Sender<Request>, scope: Filter) -> Self {
        Self {
            requests,
            scope,
            latest: Mutex::default(),
            printing: Semaphore::new(1),
            printing_whole: Semaphore::new(1),
        }
    }

    /// One that was begun at this moment or later; none when the observation has ended.
    pub async fn edition(&self, since: Instant) -> Option<Arc<Edition>> {
        // Whoever waits here takes what is drawn up meanwhile, where it is new enough.
        let mut latest = self.latest.lock().await;
        if let Some(Latest { edition, rested }) = &*latest {
            if edition.begun >= since {
                return Some(edition.clone());
            }
            sleep_until(*rested).await;
        }
        let begun = Instant::now();
        let (reply, answer) = oneshot::channel();
        let request = Request {
            filter: self.scope.clone(),
            reply,
        };
        self.requests.send(request).await.ok()?;
        let snapshot = answer.await.ok()?;
        let ended = Instant::now();
        let edition = Arc::new(Edition::new(begun, snapshot));
        *latest = Some(Latest {
            edition: edition.clone(),
            rested: ended + (ended - begun).min(LONGEST_REST),
        });
        Some(edition)
    }

    /// The edition as a frame, for someone who sees this much of it and wants this much.
    pub async fn print(
        &self,
        edition: &Arc<Edition>,
        filter: &Filter,
        sight: Sight,
    ) -> Result<Bytes, serde_json::Error> {
        let copy = Copy {
            filter: filter.clone(),
            sight: sight.among(&edition.running),
        };
        let cell = edition.cell(&copy);
        cell.get_or_try_init(|| async {
            // It never closes. Long work is not for the threads that serve everybody.
            let printing = match copy.is_whole() {
                true => &self.printing_whole,
                false => &self.printing,
            };
            let _turn = printing.acquire().await;
            let snapshot = edition.snapshot.clone();
            tokio::task::spawn_blocking(move || copy.print(&snapshot))
                .await
                .unwrap_or_else(|error| Err(serde::ser::Error::custom(error)))
        })
        .await
        .cloned()
    }

    /// Resolves when the observation has ended.
    pub async fn idle(&self) {
        self.requests.closed().await;
    }
}

impl Edition {
    fn new(begun: Instant, snapshot: Snapshot) -> Self {
        Self {
            begun,
            running: snapshot.processes.iter().filter_map(|p| p.uid).collect(),
            snapshot: Arc::new(snapshot),
            copies: Lock::default(),
        }
    }

    fn cell(&self, copy: &Copy) -> Arc<OnceCell<Bytes>> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.entry(copy.clone()).or_default().clone()
    }
}

impl Copy {
    /// One of the two that hardly differ from each other, and that most clients see.
    fn is_whole(&self) -> bool {
        self.filter == Filter::default() && !matches!(self.sight, Sight::Own(_))
    }

    fn print(&self, snapshot: &Arc<Snapshot>) -> Result<Bytes, serde_json::Error> {
        // Most see everything: nothing has to be copied for them.
        if self.filter == Filter::default() && self.sight == Sight::Everything {
            return frame(&Answer::Snapshot(snapshot.clone()));
        }
        let part = self.sight.of(self.filter.part_of(snapshot));
        frame(&Answer::Snapshot(Arc::new(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::snapshot::Process;

    /// An observer that takes its time, and numbers its snapshots.
    fn press(takes: Duration) -> Press {
        let (requests, mut inbox) = mpsc::channel::<Request>(4);
        tokio::spawn(async move {
            let mut snapshot = Snapshot::default();
            snapshot.processes.push(Process {
                uid: Some(1000),
                command: vec!["secret".into()],
                ..Process::default()
            });
            while let Some(request) = inbox.recv().await {
                tokio::time::sleep(takes).await;
                snapshot.health.events += 1;
                let _ = request.reply.send(snapshot.clone());
            }
        });
        Press::new(requests, Filter::default())
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_drawn_up_for_all_who_wait() {
        let press = Arc::new(press(Duration::from_millis(50)));
        let moment = Instant::now();
        let crowd: Vec<_> = (0..100)
            .map(|_| {
                let press = press.clone();
                tokio::spawn(async move { press.edition(moment).await })
            })
            .collect();
        for one in crowd {
            assert_eq!(one.await.unwrap().unwrap().snapshot.health.events, 1);
        }
        // What was begun before a question does not answer it.
        let later = press.edition(Instant::now()).await.unwrap();
        assert_eq!(later.snapshot.health.events, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_leaves_the_observer_half_of_its_time() {
        let press = Arc::new(press(Duration::from_millis(20)));
        let start = Instant::now();
        let mut last = 0;
        while start.elapsed() < Duration::from_secs(2) {
            last = press
                .edition(Instant::now())
                .await
                .unwrap()
                .snapshot
                .health
                .events;
        }
        assert!((45..=51).contains(&last), "{last} in 2 s of 20 ms each");
    }

    #[tokio::test]
    async fn who_sees_the_same_gets_the_same_bytes() {
        let press = press(Duration::ZERO);
        let edition = press.edition(Instant::now()).await.unwrap();
        let print = |sight| {
            let (press, edition) = (&press, &edition);
            async move {
                press
                    .print(edition, &Filter::default(), sight)
                    .await
                    .unwrap()
            }
        };
        let root = print(Sight::Everything).await;
        let own = print(Sight::Own(1000)).await;
        let (one, other) = (print(Sight::Own(1)).await, print(Sight::Own(2)).await);
        assert_eq!(one.as_ptr(), other.as_ptr(), "not printed again");
        let secret = |bytes: &[u8]| bytes.windows(6).any(|word| word == b"secret");
        assert!(secret(&root) && secret(&own) && !secret(&one));
    }

    /// However many wait for what nobody else sees.
    #[tokio::test]
    async fn who_sees_all_does_not_wait_for_everybody() {
        let press = press(Duration::ZERO);
        let edition = press.edition(Instant::now()).await.unwrap();
        let queue = press.printing.acquire().await.unwrap();
        let all = Filter::default();
        for sight in [Sight::Everything, Sight::Own(7), Sight::Nothing] {
            let whole = press.print(&edition, &all, sight);
            let whole = tokio::time::timeout(Duration::from_secs(60), whole).await;
            assert!(whole.unwrap().is_ok(), "{sight:?}");
        }
        let filter = Filter {
            pids: vec![7],
            ..Filter::default()
        };
        let mut own = Box::pin(press.print(&edition, &filter, Sight::Everything));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut own).await;
        assert!(early.is_err(), "it has its turn");
        drop(queue);
        assert!(own.await.is_ok());
    }

    #[tokio::test]
    async fn an_ended_observation_has_no_editions() {
        let (requests, inbox) = mpsc::channel(1);
        let press = Press::new(requests, Filter::default());
        drop(inbox);
        assert!(press.edition(Instant::now()).await.is_none());
        press.idle().await;
    }
}
