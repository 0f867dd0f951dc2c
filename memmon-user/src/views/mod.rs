//! What people and programs look at. Views read snapshots and write nothing back.

pub mod audit;
pub mod diagnosis;
pub mod environment;
pub mod export;
pub mod health;
pub mod metrics;
pub mod output;
pub mod pools;
pub mod replay;
pub mod snapshot;
pub mod tracy;
pub mod tui;
pub mod units;

#[cfg(test)]
mod golden;
#[cfg(any(test, fuzzing))]
mod sample;
