//! Plays a recording: does what a view wishes, and shows it what there is to be seen.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{past, words};
use crate::{
    clock,
    recording::{Cursor, Incident, Recording, reader::ReadError},
    tables::{
        Fact, Filter,
        live::{Inspect, LiveAsk},
        snapshot::Snapshot,
    },
    views::tui::source::{Source, TimeControl, TimeState, TimeWish},
};

const SPEEDS: [f64; 13] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0,
];
/// Between two pictures while it plays.
const FRAME: Duration = Duration::from_millis(50);

/// Events of others that one step goes over.
const MOST_SKIPPED: usize = 1000;

struct Player {
    cursor: Cursor,
    filter: Filter,
    playing: bool,
    /// One of [`SPEEDS`].
    speed: usize,
    stepped: bool,
    leaps: u64,
    past: Arc<Vec<Arc<Snapshot>>>,
    problem: Option<String>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    state: watch::Sender<TimeState>,
}

/// Begins at a moment, standing still. It ends when the source is dropped.
pub fn start(mut cursor: Cursor, filter: Filter, boot_ns: u64) -> io::Result<Source> {
    cursor.seek(boot_ns).map_err(io::Error::other)?;
    let (snapshots, shown) = watch::channel(Arc::new(past::snapshot(&cursor, &filter)));
    let (state, states) = watch::channel(TimeState::default());
    let (wishes, wished) = mpsc::channel(16);
    let (inspections, inspected) = mpsc::channel(8);
    let mut player = Player {
        cursor,
        filter,
        playing: false,
        speed: SPEEDS.iter().position(|speed| *speed == 1.0).unwrap_or(0),
        stepped: false,
        leaps: 0,
        past: Arc::default(),
        problem: None,
        snapshots,
        state,
    };
    player.leap(|_| Ok(()));
    player.show();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    thread::Builder::new()
        .name("player".to_owned())
        .spawn(move || runtime.block_on(player.play(wished, inspected)))?;
    Ok(Source {
        snapshots: shown,
        inspections,
        link: None,
        time: Some(TimeControl {
            wishes,
            state: states,
        }),
    })
}

impl Player {
    async fn play(
        mut self,
        mut wishes: mpsc::Receiver<TimeWish>,
        mut inspections: mpsc::Receiver<Inspect>,
    ) {
        let mut shown = Instant::now();
        loop {
            tokio::select! {
                wish = wishes.recv() => {
                    let Some(wish) = wish else { return };
                    self.grant(wish);
                }
                Some(inspect) = inspections.recv() => {
                    self.inspect(inspect);
                    continue;
                }
                () = tokio::time::sleep(FRAME), if self.playing => self.go_on(shown.elapsed()),
            }
            shown = Instant::now();
            self.show();
        }
    }

    fn recording(&self) -> Arc<Recording> {
        self.cursor.recording().clone()
    }

    fn speed(&self) -> f64 {
        SPEEDS.get(self.speed).copied().unwrap_or(1.0)
    }

    fn grant(&mut self, wish: TimeWish) {
        let (start, end) = (
            self.recording().start().boot_ns,
            self.recording().end().boot_ns,
        );
        let now = self.cursor.now().boot_ns;
        self.stepped = false;
        match wish {
            TimeWish::PlayOrPause => {
                self.playing = !self.playing;
                if self.playing && now >= end {
                    self.leap(|cursor| cursor.seek(start));
                }
            }
            TimeWish::StepEvents(by) => {
                self.playing = false;
                self.stepped = true;
                let went = self.step(by);
                self.note(went);
            }
            TimeWish::Forward(by) => {
                self.leap(|cursor| cursor.seek(now.saturating_add(nanos(by)).min(end)));
            }
            TimeWish::Back(by) => self.leap(|cursor| cursor.seek(now.saturating_sub(nanos(by)))),
            TimeWish::Incident(forward) => {
                self.playing = false;
                let found = self.incident(forward);
                match found {
                    Ok(Some(incident)) => self.leap(|cursor| cursor.seek_fact(incident.place)),
                    Ok(None) => {}
                    Err(error) => self.note(Err(error)),
                }
            }
            TimeWish::Faster => self.speed = (self.speed + 1).min(SPEEDS.len() - 1),
            TimeWish::Slower => self.speed = self.speed.saturating_sub(1),
            TimeWish::Start => self.leap(|cursor| cursor.seek(start)),
            TimeWish::End => self.leap(|cursor| cursor.seek(end)),
        }
    }

    /// So many events on, or back, of those that are not filtered away.
    fn step(&mut self, by: i64) -> Result<(), ReadError> {
        for _ in 0..by.unsigned_abs() {
            for _ in 0..MOST_SKIPPED {
                let before = self.cursor.events();
                let to = before.saturating_add_signed(by.signum());
                self.cursor.seek_event(to)?;
                let event = self.cursor.last_event();
                let is_wanted = event.is_none_or(|event| self.filter.takes_pid(event.pid));
                if is_wanted || self.cursor.events() == before {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next incident that is not filtered away, or the one before.
    fn incident(&self, forward: bool) -> Result<Option<Incident>, ReadError> {
        let recording = self.recording();
        let mut place = self.cursor.next_place();
        if !forward
            && let Some(here) = recording.incident_before(place)?
            && here.place.next() == place
        {
            place = here.place;
        }
        loop {
            let found = match forward {
                true => recording.incident_from(place)?,
                false => recording.incident_before(place)?,
            };
            let Some(found) = found else { return Ok(None) };
            let is_wanted = match &found.fact {
                Fact::Failure(failure) => self.filter.takes_pid(failure.pid),
                Fact::Ending(ending) => self.filter.takes_pid(ending.pid),
                _ => true,
            };
            if is_wanted {
                return Ok(Some(found));
            }
            place = match forward {
                true => found.place.next(),
                false => found.place,
            };
        }
    }

    /// To somewhere else: what was before that is shown, too.
    fn leap(&mut self, to: impl FnOnce(&mut Cursor) -> Result<(), ReadError>) {
        let went = to(&mut self.cursor).and_then(|()| {
            let now = self.cursor.now().boot_ns;
            past::before(&self.recording(), &self.filter, now)
        });
        match went {
            Ok(past) => {
                self.past = Arc::new(past);
                self.leaps += 1;
            }
            Err(error) => self.note(Err(error)),
        }
    }

    fn note(&mut self, went: Result<(), ReadError>) {
        if let Err(error) = went {
            self.playing = false;
            self.problem = Some(error.to_string());
        }
    }

    fn go_on(&mut self, elapsed: Duration) {
        let end = self.recording().end().boot_ns;
        let passed = Duration::try_from_secs_f64(elapsed.as_secs_f64() * self.speed());
        let passed = passed.map_or(u64::MAX, nanos);
        let to = self.cursor.now().boot_ns.saturating_add(passed).min(end);
        let went = self.cursor.seek(to);
        self.note(went);
        self.playing &= to < end;
    }

    fn show(&self) {
        let recording = self.cursor.recording();
        let now = self.cursor.now();
        let tables = &self.cursor.replica.tables;
        let event = self.cursor.last_event().filter(|_| self.stepped);
        let notes = recording.notes().iter().chain(&self.problem);
        // The state first: who sees the snapshot knows what to make of it.
        self.state.send_replace(TimeState {
            start_ns: recording.start().epoch_ns,
            end_ns: recording.end().epoch_ns,
            now_ns: now.epoch_ns,
            playing: self.playing,
            speed: self.speed(),
            event: event.map(|event| words::of_event(event, now.epoch_ns, tables)),
            notes: notes.cloned().collect(),
            leaps: self.leaps,
            past: self.past.clone(),
        });
        let snapshot = past::snapshot(&self.cursor, &self.filter);
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    fn inspect(&self, inspect: Inspect) {
        let Inspect { ask, reply } = inspect;
        let ask = match ask.pids.is_empty() {
            true => LiveAsk {
                pids: self.filter.pids.clone(),
                ..ask
            },
            false => ask,
        };
        let now = self.cursor.now();
        let at = clock::rfc3339(now.epoch_ns.into()).unwrap_or_default();
        let replica = &self.cursor.replica;
        let live = replica.live.iter().copied();
        let list = replica.tables.live_list(live, &ask, now.boot_ns, at);
        // It may not want to know any more.
        let _ = reply.send(list);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
