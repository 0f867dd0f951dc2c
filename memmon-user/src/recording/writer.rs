//! Makes a recording of what a follower of the observation is told.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::Arc,
};

use memmon_ebpf::ledger::{RowKey, RowValue};

use super::{
    awaited::Awaited,
    format::{FrameHeader, FrameKind, Meta, file_header, flag},
    order,
    payload::{self, PackError},
};
use crate::tables::{
    Batch, Fact, Replica,
    snapshot::{Notice, NoticeKind},
};

/// Bytes after which the whole state is written again, so that any moment is found fast…
const KEYFRAME_AFTER: u64 = 256 << 10;
/// …and how many times its own size it has to wait at the least, so that the file is not full of it.
const KEYFRAME_SHARE: u64 = 4;
/// Events that repeat each other take hardly any bytes, but time all the same.
const KEYFRAME_EVENTS: u64 = 100_000;
/// A payload that is larger is written as several.
const LARGE: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub events: u64,
    pub bytes: u64,
    pub keyframes: u64,
    pub keyframe_bytes: u64,
    /// How many times events were missed, because writing was too slow.
    pub gaps: u64,
}

#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// What a reader knows at the end of what was written.
    state: Replica,
    /// Told, and not yet in order.
    pending: Vec<Arc<Batch>>,
    awaited: Awaited,
    /// Rows as the kernel has them, ahead of events that are still on their way.
    held: HashMap<RowKey, RowValue>,
    gaps: Vec<Notice>,
    keyframe: u64,
    since_keyframe: u64,
    events_since_keyframe: u64,
    /// Of this file; `written` counts all.
    length: u64,
    written: Written,
}

impl<W: Write> Writer<W> {
    pub fn begin(out: W, meta: &Meta, checkpoint: &Batch) -> Result<Self, WriteError> {
        let mut writer = Self {
            out,
            state: Replica::default(),
            pending: Vec::new(),
            awaited: Awaited::default(),
            held: HashMap::new(),
            gaps: Vec::new(),
            keyframe: 0,
            since_keyframe: 0,
            events_since_keyframe: 0,
            length: 0,
            written: Written::default(),
        };
        writer.start(meta, checkpoint)?;
        Ok(writer)
    }

    fn start(&mut self, meta: &Meta, checkpoint: &Batch) -> Result<(), WriteError> {
        self.put(&file_header(meta)?)?;
        self.state = Replica::of(checkpoint);
        self.write_keyframe(0)
    }

    /// Goes on in another file. What was taken before must be flushed.
    pub fn go_on_in(&mut self, out: W, meta: &Meta) -> Result<W, WriteError> {
        self.flush()?;
        self.end()?;
        let before = std::mem::replace(&mut self.out, out);
        self.length = 0;
        self.put(&file_header(meta)?)?;
        self.write_keyframe(0)?;
        Ok(before)
    }

    /// Takes in a batch; true where it is time to flush: the history is in it, and so all that
    /// happened before, and it is known where that was.
    pub fn take(&mut self, batch: Arc<Batch>) -> bool {
        self.awaited.take(&batch, &self.state.tables);
        self.pending.push(batch);
        self.awaited.is_complete()
    }

    /// Whether something waits to be written.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty() || !self.held.is_empty()
    }

    /// Of this file.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn written(&self) -> Written {
        self.written
    }

    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// The state as it was last told.
    pub fn state(&self) -> &Replica {
        &self.state
    }

    /// Writes what was taken. What is written is whole: a crash after this loses nothing of it.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.awaited.give_up();
        let held = std::mem::take(&mut self.held);
        let pending = std::mem::take(&mut self.pending)
            .into_iter()
            .map(|batch| Arc::try_unwrap(batch).unwrap_or_else(|shared| (*shared).clone()))
            .collect();
        let mut batches = Vec::new();
        for batch in order::by_time(pending) {
            batches.push(self.follow(batch));
        }
        let overdue = self.overdue(held);
        if !overdue.is_empty() {
            match batches.last_mut() {
                Some(last) => last.facts.extend(overdue),
                None => batches.push(Batch {
                    epoch_ns: self.state.epoch_ns,
                    boot_ns: self.state.boot_ns,
                    facts: overdue,
                }),
            }
            self.state.tables.raise_peaks();
        }
        if batches.is_empty() {
            return Ok(());
        }
        self.write_batches(batches)?;
        if self.is_keyframe_due() {
            self.write_keyframe(0)?;
        }
        Ok(())
    }

    fn is_keyframe_due(&self) -> bool {
        let share = self.keyframe.saturating_mul(KEYFRAME_SHARE);
        self.since_keyframe >= share.max(KEYFRAME_AFTER)
            || (self.events_since_keyframe >= KEYFRAME_EVENTS
                && self.since_keyframe >= self.keyframe)
    }

    /// Takes the batch into the state, and leaves out rows that a reader knows by their events.
    fn follow(&mut self, batch: Batch) -> Batch {
        self.state.epoch_ns = batch.epoch_ns;
        self.state.boot_ns = batch.boot_ns;
        let mut facts = Vec::with_capacity(batch.facts.len());
        for fact in batch.facts {
            if let Fact::Row { key, value } = &fact {
                let known = self.state.tables.row_of(key);
                let ahead = value.sequence > known.map_or(0, |row| row.sequence);
                if known == Some(value) {
                    continue;
                }
                if ahead {
                    self.held.insert(*key, *value);
                    continue;
                }
            }
            self.state.apply_fact(&fact);
            facts.push(fact);
        }
        self.state.tables.raise_peaks();
        Batch { facts, ..batch }
    }

    /// Rows whose events have not come: they were lost.
    fn overdue(&mut self, held: HashMap<RowKey, RowValue>) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (key, value) in held {
            let newer = self.held.contains_key(&key);
            let known = self.state.tables.row_of(&key);
            if newer || known.is_some_and(|row| row.sequence > value.sequence || *row == value) {
                continue;
            }
            let fact = Fact::Row { key, value };
            self.state.apply_fact(&fact);
            facts.push(fact);
        }
        facts
    }

    /// Starts over from the present state: what happened since the last batch was missed.
    pub fn anew(&mut self, checkpoint: &Batch, at: String) -> Result<(), WriteError> {
        self.flush()?;
        self.held.clear();
        self.gaps.push(Notice {
            at,
            kind: NoticeKind::Gap,
            text: "writing was too slow: what happened until here is not in the recording"
                .to_owned(),
        });
        self.written.gaps += 1;
        self.state = Replica::of(checkpoint);
        for gap in &self.gaps {
            self.state.apply_fact(&Fact::Notice(gap.clone()));
        }
        self.write_keyframe(flag::ANEW | flag::INCIDENTS)
    }

    /// The last frame: from here on there is nothing more to come.
    pub fn finish(&mut self) -> Result<Written, WriteError> {
        self.flush()?;
        // Rows that wait for events which do not come any more.
        self.flush()?;
        self.end()?;
        self.out.flush()?;
        Ok(self.written)
    }

    fn end(&mut self) -> Result<(), WriteError> {
        self.put_frame(FrameKind::End, 0, 0, &[])
    }

    fn write_keyframe(&mut self, flags: u8) -> Result<(), WriteError> {
        let mut facts = self.state.tables.checkpoint();
        let mut live: Vec<_> = self.state.live.iter().copied().collect();
        live.sort_unstable_by_key(|entry| entry.id());
        facts.push(Fact::Live(live));
        let batch = Batch {
            epoch_ns: self.state.epoch_ns,
            boot_ns: self.state.boot_ns,
            facts,
        };
        let before = self.length;
        let mut parts = Vec::new();
        split(vec![batch], &mut parts)?;
        let more = parts.len().saturating_sub(1);
        let more = u16::try_from(more).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        for (at, part) in parts.iter().enumerate() {
            match at {
                0 => self.put_payload(FrameKind::Keyframe, flags, more, part)?,
                _ => self.put_payload(FrameKind::Batches, 0, 0, part)?,
            }
        }
        self.keyframe = self.length - before;
        self.since_keyframe = 0;
        self.events_since_keyframe = 0;
        self.written.keyframes += 1;
        self.written.keyframe_bytes += self.keyframe;
        Ok(())
    }

    fn write_batches(&mut self, batches: Vec<Batch>) -> Result<(), WriteError> {
        let mut parts = Vec::new();
        split(batches, &mut parts)?;
        for part in &parts {
            self.put_payload(FrameKind::Batches, 0, 0, part)?;
        }
        Ok(())
    }

    fn put_payload(
        &mut self,
        kind: FrameKind,
        flags: u8,
        parts: u16,
        part: &Part,
    ) -> Result<(), WriteError> {
        let flags = match (kind, part.incidents) {
            (FrameKind::Batches, true) => flags | flag::INCIDENTS,
            _ => flags,
        };
        self.written.events += u64::from(part.events);
        self.events_since_keyframe += u64::from(part.events);
        let packed = payload::compress(&part.bytes)?;
        let header = FrameHeader {
            kind,
            flags,
            parts,
            length: size(packed.len())?,
            unpacked: size(part.bytes.len())?,
            checksum: crc32fast::hash(&packed),
            events: part.events,
            boot_ns: part.boot_ns,
            epoch_ns: part.epoch_ns,
        };
        self.put_with(&header, &packed)
    }

    fn put_frame(
        &mut self,
        kind: FrameKind,
        flags: u8,
        parts: u16,
        packed: &[u8],
    ) -> Result<(), WriteError> {
        let header = FrameHeader {
            kind,
            flags,
            parts,
            length: size(packed.len())?,
            unpacked: 0,
            checksum: crc32fast::hash(packed),
            events: 0,
            boot_ns: self.state.boot_ns,
            epoch_ns: self.state.epoch_ns,
        };
        self.put_with(&header, packed)
    }

    /// In one piece, so that there are no halves where nothing goes wrong.
    fn put_with(&mut self, header: &FrameHeader, packed: &[u8]) -> Result<(), WriteError> {
        let mut bytes = Vec::from(header.bytes());
        bytes.extend(packed);
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes)?;
        let length = bytes.len() as u64;
        self.length += length;
        self.written.bytes += length;
        self.since_keyframe += length;
        Ok(())
    }
}

fn size(length: usize) -> Result<u32, WriteError> {
    Ok(u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?)
}

/// What becomes one frame.
#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    events: u32,
    incidents: bool,
    boot_ns: u64,
    epoch_ns: u64,
}

/// Batches as payloads none of which is too large.
fn split(mut batches: Vec<Batch>, parts: &mut Vec<Part>) -> Result<(), WriteError> {
    let bytes = payload::write(&batches)?;
    if bytes.len() > LARGE {
        let half = match batches.len() {
            1 => batches.first_mut().and_then(halve).map(|half| vec![half]),
            length => Some(batches.split_off(length / 2)),
        };
        if let Some(half) = half {
            split(batches, parts)?;
            return split(half, parts);
        }
    }
    let facts = || batches.iter().flat_map(|batch| &batch.facts);
    let (boot_ns, epoch_ns) = batches
        .last()
        .map_or((0, 0), |batch| (batch.boot_ns, batch.epoch_ns));
    parts.push(Part {
        events: size(
            facts()
                .filter(|fact| matches!(fact, Fact::Event(_)))
                .count(),
        )?,
        incidents: facts().any(Fact::is_incident),
        bytes,
        boot_ns,
        epoch_ns,
    });
    Ok(())
}

/// Takes the second half of a batch off it. None where it cannot be divided.
fn halve(batch: &mut Batch) -> Option<Batch> {
    let facts = match batch.facts.as_mut_slice() {
        [Fact::Live(list)] if list.len() > 1 => vec![Fact::Live(list.split_off(list.len() / 2))],
        [] | [_] => return None,
        facts => {
            let half = facts.len() / 2;
            batch.facts.split_off(half)
        }
    };
    let rest = Batch { facts, ..*batch };
    // The first half ends with its last event.
    if let Some(Fact::Event(event)) = batch.facts.last() {
        let end = event.time_ns.min(batch.boot_ns);
        batch.epoch_ns = batch.epoch_of(end);
        batch.boot_ns = end;
    }
    Some(rest)
}
