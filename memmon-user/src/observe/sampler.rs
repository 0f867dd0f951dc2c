//! An observation that places no probe: at every refresh, and at every question, the processes are
//! walked. Totals are exact at that moment; what happens in between is not seen.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::MissedTickBehavior,
};

use super::{Options, Runtimes, census::Census, observation::Request, observer::Inboxes};
use crate::{
    clock,
    tables::{live::Inspect, snapshot::Snapshot},
};

const NOTE: &str = "sampled: no probe is placed, so peaks are of what was seen at each refresh, and nothing is counted";

pub(super) struct Sampler<'a> {
    census: Census<'a>,
}

impl<'a> Sampler<'a> {
    pub fn new(options: Options, runtimes: &'a Runtimes) -> Self {
        let mut census = Census::new(options, runtimes);
        census.tables.only_sampled();
        census.notes.push(NOTE.to_owned());
        Self { census }
    }

    pub fn snapshot(&mut self) -> Snapshot {
        self.census.take()
    }

    pub async fn run(
        &mut self,
        inboxes: Inboxes,
        snapshots: Arc<watch::Sender<Arc<Snapshot>>>,
        refresh: Duration,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut refresh = tokio::time::interval(refresh);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let Inboxes {
            mut requests,
            mut inspections,
            // There is no history to follow, and no ledger to audit: whoever asks is told so by
            // the end of his channel.
            mut follows,
            mut audits,
        } = inboxes;
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                _ = refresh.tick() => {
                    if snapshots.receiver_count() > 0 {
                        snapshots.send_replace(Arc::new(self.snapshot()));
                    }
                }
                Some(Inspect { ask, reply }) = inspections.recv() => {
                    let _ = self.snapshot();
                    let Census { tables, live, .. } = &self.census;
                    let list = tables.live_list(live.iter().copied(), &ask, clock::boot_ns(), clock::now());
                    let _ = reply.send(list);
                }
                Some(_) = follows.recv() => {}
                Some(_) = audits.recv() => {}
                request = requests.recv() => {
                    let Some(request) = request else {
                        return;
                    };
                    // All who ask by now are told the same.
                    let mut waiting = vec![request];
                    while let Ok(request) = requests.try_recv() {
                        waiting.push(request);
                    }
                    let snapshot = self.snapshot();
                    for Request { filter, reply } in waiting {
                        let _ = reply.send(filter.apply(snapshot.clone()));
                    }
                }
            }
        }
    }
}
