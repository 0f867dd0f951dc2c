//! Draws up what a scraper is given.
//!
//! One at a time: scrapers that come meanwhile share the next one, so however many ask, the observer
//! is asked by one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::time::{ClockId, clock_gettime};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    observe::Request,
    tables::Filter,
    views::metrics::{self, Crowd, Dialect, Own},
};

#[derive(Debug)]
pub struct Scrapes {
    requests: mpsc::Sender<Request>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    crowd: Crowd,
    answered: u64,
    took: Duration,
    last: Option<Last>,
}

/// The latest text, and when its snapshot was asked for.
#[derive(Debug)]
struct Last {
    asked: Instant,
    dialect: Dialect,
    text: Bytes,
}

impl Scrapes {
    pub fn new(requests: mpsc::Sender<Request>, processes: usize) -> Self {
        Self {
            requests,
            state: Mutex::new(State {
                crowd: Crowd::new(Some(processes)),
                answered: 0,
                took: Duration::ZERO,
                last: None,
            }),
        }
    }

    /// With everything in it that had happened when this was called; none where the observer is
    /// gone.
    pub async fn text(&self, dialect: Dialect) -> Option<Bytes> {
        let called = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(last) = &state.last
            && last.asked >= called
            && last.dialect == dialect
        {
            return Some(last.text.clone());
        }
        let asked = Instant::now();
        let (reply, answer) = oneshot::channel();
        let request = Request {
            filter: Filter::default(),
            reply,
        };
        self.requests.send(request).await.ok()?;
        let snapshot = answer.await.ok()?;
        let own = Own {
            started: seconds_of(&snapshot.observer.started_at),
            scrapes: state.answered,
            scrape_seconds: state.took.as_secs_f64(),
            ..cost()
        };
        let text = metrics::render(&snapshot, &mut state.crowd, Some(&own), dialect);
        let text = Bytes::from(text);
        state.last = Some(Last {
            asked,
            dialect,
            text: text.clone(),
        });
        state.answered += 1;
        state.took += asked.elapsed();
        Some(text)
    }
}

/// What this process has used.
fn cost() -> Own {
    let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    Own {
        cpu_seconds: cpu.unwrap_or_default().as_secs_f64(),
        resident_bytes: resident_bytes(),
        ..Own::default()
    }
}

fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

fn seconds_of(rfc3339: &str) -> Option<f64> {
    let at = OffsetDateTime::parse(rfc3339, &Rfc3339).ok()?;
    Some(at.unix_timestamp_nanos() as f64 / 1e9)
}
