//! memmon-ebpf: who is holding the device memory?
//!
//! The road of the data: [`discover`] → [`attach`] → [`drain`] → [`tables`] → [`views`].

pub mod attach;
pub mod cli;
pub mod discover;
pub mod drain;
pub mod elf;
pub mod observe;
pub mod runtimes;
pub mod server;
pub mod tables;
pub mod target;
pub mod views;
