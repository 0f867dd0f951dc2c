//! What a probe runs: expressions → a graph of values ([`lower`], [`graph`]) → steps in their order ([`steps`],
//! [`blocks`]) → instructions for the BPF interpreter ([`emit`], [`registers`]). [`compile`] does all of it.

mod blocks;
pub(super) mod compile;
mod emit;
pub mod evaluate;
pub(super) mod explain;
mod graph;
pub(super) mod lower;
mod registers;
mod steps;
