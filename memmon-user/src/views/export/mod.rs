//! All that happened in a recording, for people's own tools.

mod events_csv;
mod perfetto;
mod totals;
mod trace;

use std::{io, path::Path, sync::Arc};

use super::output::{Mode, OutputError, Sink, Written};
use crate::{
    recording::{Cursor, Recording, reader::ReadError},
    tables::Filter,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// A line for each event.
    EventsCsv,
    /// What Perfetto opens: a counter for each process, device and pool.
    Perfetto,
}

impl Export {
    pub const ALL: [Self; 2] = [Self::EventsCsv, Self::Perfetto];

    pub fn name(self) -> &'static str {
        match self {
            Self::EventsCsv => "events-csv",
            Self::Perfetto => "perfetto",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("an event could not be written as CSV: {0}")]
    Csv(#[from] csv::Error),
    #[error("the reader of the output went away")]
    ReaderGone,
}

/// Writes all of it.
pub fn write(
    recording: Arc<Recording>,
    filter: &Filter,
    export: Export,
    path: Option<&Path>,
) -> Result<(), ExportError> {
    let mut to = Chunks {
        sink: Sink::open(path, Mode::Whole)?,
        bytes: Vec::with_capacity(CHUNK + (CHUNK >> 2)),
    };
    let cursor = Cursor::new(recording)?;
    match export {
        Export::EventsCsv => events_csv::write(cursor, filter, &mut to)?,
        Export::Perfetto => perfetto::write(cursor, filter, &mut to)?,
    }
    to.hand_on()?;
    to.sink.finish()?;
    Ok(())
}

const CHUNK: usize = 1 << 18;

/// Output in pieces of a good size.
struct Chunks {
    sink: Sink,
    bytes: Vec<u8>,
}

impl Chunks {
    fn hand_on_if_large(&mut self) -> Result<(), ExportError> {
        if self.bytes.len() < CHUNK {
            return Ok(());
        }
        self.hand_on()
    }

    fn hand_on(&mut self) -> Result<(), ExportError> {
        let written = self.sink.write_bytes(&self.bytes)?;
        self.bytes.clear();
        match written {
            Written::All => Ok(()),
            Written::ReaderGone => Err(ExportError::ReaderGone),
        }
    }
}

impl io::Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
