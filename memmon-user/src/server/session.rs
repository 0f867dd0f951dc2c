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
    listen::House,
    protocol::{Answer, Ask, LONGEST_ASK, Wish, codec, frame},
    visibility::Sight,
};
use crate::tables::Filter;

/// How long a client may take to ask first, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may then say nothing while it watches nothing.
const IDLE: Duration = Duration::from_secs(60);
const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_hours(24);

pub struct Session {
    house: Arc<House>,
    sight: Sight,
    asks: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    answers: OwnedWriteHalf,
    watch: Option<Watch>,
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
    pub fn new(stream: UnixStream, house: Arc<House>, sight: Sight) -> Self {
        let (asks, answers) = stream.into_split();
        Self {
            house,
            sight,
            asks: FramedRead::new(asks, codec(LONGEST_ASK)),
            answers,
            watch: None,
        }
    }

    pub async fn run(mut self) {
        let mut silent_until = Instant::now() + PATIENCE;
        loop {
            let went_on = tokio::select! {
                message = self.asks.next() => match message {
                    Some(Ok(message)) => self.answer(&message).await,
                    Some(Err(error)) => self.refuse(&error.to_string()).await,
                    None => Err(End),
                },
                () = due(self.watch.as_ref()) => self.show().await,
                () = sleep_until(silent_until), if self.watch.is_none() => Err(End),
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
        }
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
        match press.print(&edition, filter, self.sight).await {
            Ok(frame) => self.send(frame).await,
            Err(error) => {
                self.refuse(&format!("the snapshot cannot be sent: {error}"))
                    .await
            }
        }
    }

    async fn refuse(&mut self, why: &str) -> Result<(), End> {
        if let Ok(frame) = frame(&Answer::Error(why.to_owned())) {
            self.send(frame).await?;
        }
        Err(End)
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), End> {
        match timeout(PATIENCE, self.answers.write_all(&frame)).await {
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
