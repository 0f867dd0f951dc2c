//! A recording: the journal of an observation in a file. `docs/recording.md` says what it looks
//! like byte by byte.
//!
//! [`writer`] makes one of the batches that a follower gets; [`reader`] opens one, whatever became
//! of its end; [`cursor`] goes to any moment of it.

mod awaited;
mod columns;
pub mod cursor;
mod events;
mod format;
mod incidents;
mod index;
mod live;
mod moment;
mod order;
mod payload;
pub mod reader;
pub mod target;
mod varint;
pub mod writer;

#[cfg(test)]
mod tests;

pub use cursor::Cursor;
pub use format::{Meta, VERSION};
pub use incidents::Incident;
pub use moment::Moment;
pub use reader::{OpenError, Recording};
pub use writer::Writer;
