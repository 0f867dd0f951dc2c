//! Support for the end-to-end tests.

pub mod audit;
pub mod c;
pub mod check;
pub mod disk;
mod elf_damage;
pub mod filter;
pub mod fixture;
pub mod lab;
pub mod maps;
pub mod memmon;
pub mod optional;
pub mod people;
pub mod prometheus;
pub mod raw;
pub mod reborn;
pub mod record;
pub mod recorder;
pub mod rights;
pub mod screen;
pub mod tracy;
pub mod witness;
