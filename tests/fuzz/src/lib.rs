//! What several targets need.

pub mod code;
pub mod frames;
pub mod programs;
pub mod views;
