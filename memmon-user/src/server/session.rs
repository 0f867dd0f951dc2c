//! One client: its questions are answered one after the other, and what it watches is sent as it
//! takes it. Nothing is kept for one that is slow.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, sleep_until, timeout},
};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::{
    following::{self, Following},
    listen::House,
    protocol::{Answer, Ask, LONGEST_ASK, Wish, codec, frame},
    visibility::Sight,
};
use crate::{
    observe::AuditRequest,
    tables::{Batch, Filter, live::Inspect},
};

/// How long a client may take to ask first, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may then say nothing while it watches nothing.
const IDLE: Duration = Duration::from_secs(60);
const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_hours(24);

pub struct Session {
    house: Arc<House>,
    uid: u32,
    sight: Sight,
    asks: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    answers: OwnedWriteHalf,
    watch: Option<Watch>,
    following: Option<Following>,
}

/// What a client watches.
struct Watch {
    filter: Filter,
    pace: Duration,
    next: Instant,
}

/// The client is gone, or is to go.
struct End;

impl Session {
    pub fn new(stream: UnixStream, house: Arc<House>, uid: u32, sight: Sight) -> Self {
        let (asks, answers) = stream.into_split();
        Self {
            house,
            uid,
            sight,
            asks: FramedRead::new(asks, codec(LONGEST_ASK)),
            answers,
            watch: None,
            following: None,
        }
    }

    pub async fn run(mut self) {
        let mut silent_until = Instant::now() + PATIENCE;
        loop {
            let silent = self.watch.is_none() && self.following.is_none();
            let went_on = tokio::select! {
                message = self.asks.next() => match message {
                    Some(Ok(message)) => self.answer(&message).await,
                    Some(Err(error)) => self.refuse(&error.to_string()).await,
                    None => Err(End),
                },
                () = due(self.watch.as_ref()) => self.show().await,
                batch = told(self.following.as_mut(), &self.house) => self.pass_on(batch).await,
                () = sleep_until(silent_until), if silent => Err(End),
            };
            if went_on.is_err() {
                return;
            }
            silent_until = Instant::now() + IDLE;
        }
    }

    async fn answer(&mut self, message: &[u8]) -> Result<(), End> {
        let Ask { wish, filter, .. } = match Ask::read(message) {
            Ok(ask) => ask,
            Err(error) => return self.refuse(&error.to_string()).await,
        };
        match wish {
            Wish::Snapshot => self.snapshot(&filter, Instant::now()).await,
            Wish::Watch { refresh_ms } => {
                self.watch = Some(Watch {
                    filter,
                    pace: Duration::from_millis(refresh_ms).clamp(FASTEST, SLOWEST),
                    next: Instant::now(),
                });
                Ok(())
            }
            Wish::Live(ask) => {
                let questions = &self.house.live_questions;
                let list = questions.ask(|reply| Inspect { ask, reply }).await;
                let list = list.map(|list| self.house.veil.list(self.sight, list));
                self.send(frame(&Answer::Live(list))).await
            }
            Wish::Audit { pids } => {
                let audits = &self.house.audits;
                let report = audits.ask(|reply| AuditRequest { pids, reply }).await;
                self.send(frame(&Answer::Audit(report))).await
            }
            Wish::Follow => match Following::begin(&self.house, self.uid).await {
                Ok(following) => {
                    self.following = Some(following.ok_or(End)?);
                    Ok(())
                }
                Err(full) => self.refuse(&full.to_string()).await,
            },
        }
    }

    async fn pass_on(&mut self, batch: Option<Arc<Batch>>) -> Result<(), End> {
        let batch = batch.ok_or(End)?;
        let frame = following::print(&self.house, self.sight, batch).await;
        self.send(frame).await
    }

    /// The next snapshot of what is watched. Those whose moments passed meanwhile are left out.
    async fn show(&mut self) -> Result<(), End> {
        let Some(watch) = &mut self.watch else {
            return Ok(());
        };
        let moment = watch.next;
        let filter = watch.filter.clone();
        self.snapshot(&filter, moment).await?;
        if let Some(watch) = &mut self.watch {
            watch.next = self.house.next_moment(watch.pace);
        }
        Ok(())
    }

    async fn snapshot(&mut self, filter: &Filter, since: Instant) -> Result<(), End> {
        let press = &self.house.press;
        let edition = press.edition(since).await.ok_or(End)?;
        let frame = press.print(&edition, filter, self.sight).await;
        self.send(frame).await
    }

    async fn refuse(&mut self, why: &str) -> Result<(), End> {
        if let Ok(frame) = frame(&Answer::Error(why.to_owned())) {
            self.write(&frame).await?;
        }
        Err(End)
    }

    async fn send(&mut self, frame: Result<Bytes, serde_json::Error>) -> Result<(), End> {
        match frame {
            Ok(frame) => self.write(&frame).await,
            Err(error) => {
                self.refuse(&format!(
                    "the answer cannot be sent: {error}; ask for less of it"
                ))
                .await
            }
        }
    }

    async fn write(&mut self, frame: &[u8]) -> Result<(), End> {
        match timeout(PATIENCE, self.answers.write_all(frame)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End),
        }
    }
}

/// Resolves when what is watched is to be sent; never where nothing is.
async fn due(watch: Option<&Watch>) {
    match watch {
        Some(watch) => sleep_until(watch.next).await,
        None => std::future::pending().await,
    }
}

/// Resolves to what is followed; never where nothing is.
async fn told(following: Option<&mut Following>, house: &House) -> Option<Arc<Batch>> {
    match following {
        Some(following) => following.next(house).await,
        None => std::future::pending().await,
    }
}
