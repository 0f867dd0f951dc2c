//! Requests for audits. Each is a walk through processes' memory, so they are answered one at a
//! time, with rests between them, however many ask.

use std::time::Duration;

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use crate::{observe::AuditRequest, tables::audit::Report};

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Audits {
    requests: mpsc::Sender<AuditRequest>,
    rested: Mutex<Instant>,
}

impl Audits {
    pub fn new(requests: mpsc::Sender<AuditRequest>) -> Self {
        Self {
            requests,
            rested: Mutex::new(Instant::now()),
        }
    }

    /// None: not now.
    pub async fn report(&self, pids: Vec<u32>) -> Option<Report> {
        let mut rested = timeout(PATIENCE, self.rested.lock()).await.ok()?;
        sleep_until(*rested).await;
        let begun = Instant::now();
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(AuditRequest { pids, reply })
            .await
            .ok()?;
        let report = answer.await.ok();
        let took = begun.elapsed();
        *rested = begun + took + took.min(LONGEST_REST);
        report
    }
}
