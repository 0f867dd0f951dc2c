//! What a probe runs: expressions → a graph of values → instructions for the BPF interpreter.

mod blocks;
pub(super) mod compile;
pub mod evaluate;
pub(super) mod explain;
pub(super) mod lower;
mod registers;
