//! Tenstorrent tt-metal (`libtt_metal.so`).

pub mod layout;
mod trace;
pub mod walk;
