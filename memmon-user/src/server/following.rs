//! A client that follows the journal. One that falls behind begins anew with the whole state, and
//! nobody waits for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

use super::{
    guests::{Full, Guest},
    listen::House,
    protocol::{Answer, frame},
    visibility::Sight,
};
use crate::{
    observe::follow,
    tables::{Batch, Follower},
};

/// Before one that fell behind is given the whole state again.
const BREATH: Duration = Duration::from_secs(1);

pub struct Following {
    follower: Follower,
    /// The checkpoint was handed on.
    begun: bool,
    /// It fell behind, and may begin anew at this moment.
    behind: Option<Instant>,
    _place: Guest,
}

impl Following {
    /// None when the observation has ended.
    pub async fn begin(house: &House, uid: u32) -> Result<Option<Self>, Full> {
        let place = house.followers.admit(uid)?;
        let follower = follow(&house.follows).await;
        Ok(follower.map(|follower| Self {
            follower,
            begun: false,
            behind: None,
            _place: place,
        }))
    }

    /// The next batch, the checkpoint first; none when the observation has ended. Nothing is lost
    /// when the future is dropped before it is ready.
    pub async fn next(&mut self, house: &House) -> Option<Arc<Batch>> {
        loop {
            if let Some(moment) = self.behind {
                sleep_until(moment).await;
                self.follower = follow(&house.follows).await?;
                self.behind = None;
                self.begun = false;
            }
            if !self.begun {
                self.begun = true;
                return Some(self.follower.checkpoint.clone());
            }
            match self.follower.batches.recv().await {
                Ok(batch) => return Some(batch),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => self.behind = Some(Instant::now() + BREATH),
            }
        }
    }
}

/// A batch as someone sees it who sees this much.
pub async fn print(
    house: &Arc<House>,
    sight: Sight,
    batch: Arc<Batch>,
) -> Result<Bytes, serde_json::Error> {
    let house = house.clone();
    let printed = tokio::task::spawn_blocking(move || match sight {
        Sight::Everything => frame(&Answer::Batch(batch)),
        sight => {
            let part = house.veil.batch(sight, Batch::clone(&batch));
            frame(&Answer::Batch(Arc::new(part)))
        }
    });
    printed
        .await
        .unwrap_or_else(|error| Err(serde::ser::Error::custom(error)))
}
