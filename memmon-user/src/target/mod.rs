//! A process that is observed, looked at from outside: its memory (read-only), its mappings, and
//! what `/proc` says about it.

pub mod boot;
pub mod identity;
pub mod maps;
pub mod memory;
pub mod threads;
