//! Support for the end-to-end tests.

mod elf_damage;
pub mod fixture;
pub mod lab;
pub mod memmon;
