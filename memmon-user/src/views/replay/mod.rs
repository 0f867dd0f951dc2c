//! A recording behind the same views as an observation, with the time in one's hand.

pub mod past;
mod player;
mod words;

pub use past::snapshot;
pub use player::start;
