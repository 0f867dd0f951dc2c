//! A moment of a recording, and the state of things at it.

use std::sync::Arc;

use super::{
    format::FrameKind,
    order::is_introduction,
    reader::{ReadError, Recording, Stamp},
};
use crate::tables::{Batch, Fact, Replica, event::Event};

/// Where a fact stands: its frame, the batch in that, and the place in that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub frame: usize,
    pub batch: usize,
    pub fact: usize,
}

impl Place {
    /// Right behind it.
    pub fn next(self) -> Self {
        Self {
            fact: self.fact + 1,
            ..self
        }
    }
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// Everything up to a moment since boot.
    Time(u64),
    /// So many events from the beginning of the recording.
    Events(u64),
    /// Up to a fact, and with it.
    Fact(Place),
}

#[derive(Debug)]
pub struct Cursor {
    recording: Arc<Recording>,
    pub replica: Replica,
    /// What comes next.
    next: Place,
    /// Of the frame that is next.
    batches: Vec<Batch>,
    loaded: Option<usize>,
    events: u64,
    now: Stamp,
    last_event: Option<Event>,
}

impl Cursor {
    /// At the beginning.
    pub fn new(recording: Arc<Recording>) -> Result<Self, ReadError> {
        let mut cursor = Self {
            recording,
            replica: Replica::default(),
            next: Place::default(),
            batches: Vec::new(),
            loaded: None,
            events: 0,
            now: Stamp::default(),
            last_event: None,
        };
        cursor.restart(0)?;
        Ok(cursor)
    }

    pub fn recording(&self) -> &Arc<Recording> {
        &self.recording
    }

    pub fn now(&self) -> Stamp {
        self.now
    }

    /// How many events lie before.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The latest of them, where the way here led over it.
    pub fn last_event(&self) -> Option<&Event> {
        self.last_event.as_ref()
    }

    pub fn next_place(&self) -> Place {
        self.next
    }

    /// To a moment since boot.
    pub fn seek(&mut self, boot_ns: u64) -> Result<(), ReadError> {
        let boot_ns = boot_ns.max(self.recording.start().boot_ns);
        let from = self
            .recording
            .keyframe(|frame| frame.header.boot_ns > boot_ns);
        if boot_ns < self.now.boot_ns || from > self.next.frame {
            self.restart(from)?;
        }
        self.advance(Goal::Time(boot_ns), &mut |_, _| {})?;
        if boot_ns > self.now.boot_ns {
            let last = self.recording.end().boot_ns;
            self.pass_time(boot_ns.min(last));
        }
        Ok(())
    }

    /// To where so many events lie before.
    pub fn seek_event(&mut self, count: u64) -> Result<(), ReadError> {
        let count = count.min(self.recording.events());
        let from = self.recording.keyframe(|frame| frame.events_before > count);
        if count < self.events || from > self.next.frame {
            self.restart(from)?;
        }
        self.advance(Goal::Events(count), &mut |_, _| {})
    }

    /// To right behind a fact.
    pub fn seek_fact(&mut self, place: Place) -> Result<(), ReadError> {
        let frames = self.recording.frames().get(..=place.frame);
        let from = frames
            .unwrap_or_default()
            .iter()
            .rposition(|frame| frame.header.kind == FrameKind::Keyframe)
            .unwrap_or(0);
        if place < self.next || from > self.next.frame {
            self.restart(from)?;
        }
        self.advance(Goal::Fact(place), &mut |_, _| {})
    }

    /// Goes to the end; shows each fact together with the state right after it.
    pub fn each(mut self, visit: &mut dyn FnMut(&Self, &Fact)) -> Result<Self, ReadError> {
        self.advance(Goal::Time(u64::MAX), visit)?;
        Ok(self)
    }

    /// The state of a keyframe.
    fn restart(&mut self, keyframe: usize) -> Result<(), ReadError> {
        self.replica = Replica::default();
        self.last_event = None;
        let recording = self.recording.clone();
        let frames = recording.frames();
        let parts = frames
            .get(keyframe)
            .map_or(0, |frame| usize::from(frame.header.parts));
        let end = (keyframe + 1 + parts).min(frames.len());
        for frame in frames.get(keyframe..end).unwrap_or_default() {
            self.events = frame.events_before;
            self.now = frame.stamp();
            for batch in recording.load(frame)? {
                self.replica.apply(&batch);
            }
        }
        self.next = Place {
            frame: end,
            ..Place::default()
        };
        self.loaded = None;
        Ok(())
    }

    /// Applies what comes next until the goal is reached, or the end.
    fn advance(
        &mut self,
        goal: Goal,
        visit: &mut dyn FnMut(&Self, &Fact),
    ) -> Result<(), ReadError> {
        while self.prepare(goal, visit)? {
            let batches = std::mem::take(&mut self.batches);
            let arrived = batches
                .get(self.next.batch..)
                .unwrap_or_default()
                .iter()
                .any(|batch| self.apply(batch, goal, visit));
            self.batches = batches;
            if arrived {
                break;
            }
            self.next = Place {
                frame: self.next.frame + 1,
                ..Place::default()
            };
        }
        self.replica.tables.raise_peaks();
        Ok(())
    }

    /// Has the frame that is next ready; false where there is none, or it is beyond the goal.
    fn prepare(
        &mut self,
        goal: Goal,
        visit: &mut dyn FnMut(&Self, &Fact),
    ) -> Result<bool, ReadError> {
        let recording = self.recording.clone();
        loop {
            let Some(frame) = recording.frames().get(self.next.frame) else {
                return Ok(false);
            };
            if frame.header.kind != FrameKind::Keyframe {
                if self.loaded != Some(self.next.frame) {
                    self.batches = recording.load(frame)?;
                    self.loaded = Some(self.next.frame);
                }
                return Ok(true);
            }
            if !frame.anew {
                // It says what is known here already.
                self.next.frame += 1 + usize::from(frame.header.parts);
                continue;
            }
            let is_beyond = match goal {
                Goal::Time(boot_ns) => frame.header.boot_ns > boot_ns,
                Goal::Events(count) => self.events >= count,
                Goal::Fact(place) => place.frame < self.next.frame,
            };
            if is_beyond {
                return Ok(false);
            }
            let start = self.recording.load(frame)?;
            self.restart(self.next.frame)?;
            for fact in start.iter().flat_map(|batch| &batch.facts) {
                visit(self, fact);
            }
        }
    }

    /// Applies a batch, or a part of it; whether the goal is reached.
    fn apply(&mut self, batch: &Batch, goal: Goal, visit: &mut dyn FnMut(&Self, &Fact)) -> bool {
        self.replica.epoch_ns = batch.epoch_ns;
        self.replica.boot_ns = batch.boot_ns;
        let mut after_event = self
            .next
            .fact
            .checked_sub(1)
            .and_then(|before| batch.facts.get(before))
            .is_some_and(|fact| matches!(fact, Fact::Event(_)));
        while let Some(fact) = batch.facts.get(self.next.fact) {
            // What was found out about an event belongs to it.
            let about = after_event && matches!(fact, Fact::Failure(_));
            let time = match fact {
                Fact::Event(event) => event.time_ns.min(batch.boot_ns),
                _ if about || is_introduction(fact) => self.now.boot_ns,
                _ => batch.boot_ns,
            };
            let arrived = match goal {
                Goal::Time(boot_ns) => time > boot_ns,
                Goal::Events(count) => self.events >= count && !about,
                Goal::Fact(place) => self.next > place,
            };
            if arrived {
                return true;
            }
            self.replica.apply_fact(fact);
            after_event = matches!(fact, Fact::Event(_));
            if let Fact::Event(event) = fact {
                self.events += 1;
                self.last_event = Some(*event);
            }
            self.now = Stamp {
                boot_ns: time.max(self.now.boot_ns),
                epoch_ns: batch.epoch_of(time.max(self.now.boot_ns)),
            };
            self.next.fact += 1;
            visit(self, fact);
        }
        let arrived = match goal {
            Goal::Time(boot_ns) => batch.boot_ns > boot_ns,
            Goal::Events(count) => self.events >= count,
            Goal::Fact(place) => self.next > place,
        };
        if arrived {
            return true;
        }
        self.replica.tables.raise_peaks();
        self.now = Stamp {
            boot_ns: batch.boot_ns.max(self.now.boot_ns),
            epoch_ns: batch.epoch_of(batch.boot_ns.max(self.now.boot_ns)),
        };
        self.next.batch += 1;
        self.next.fact = 0;
        false
    }

    /// Nothing happened until then.
    fn pass_time(&mut self, boot_ns: u64) {
        let passed = boot_ns.saturating_sub(self.now.boot_ns);
        self.now.boot_ns += passed;
        self.now.epoch_ns += passed;
    }
}
