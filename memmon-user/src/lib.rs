//! memmon-ebpf: who is holding the device memory?
//!
//! The road of the data: [`discover`] → [`attach`] → [`drain`] → [`tables`] → [`views`]; [`observe`]
//! drives it, and a [`recording`] keeps what the tables were told. What differs between runtimes is in
//! [`runtimes`]; [`elf`] reads library files, and [`target`] processes; [`rights`] says what each thread
//! may do. [`server`] shares one observation; [`doctor`] says what the machine allows; [`cli`] is the
//! command line. [`clock`] and [`text`] (what others wrote, made safe to look at) are for all of them.

pub mod attach;
pub mod cli;
pub mod clock;
pub mod discover;
pub mod doctor;
pub mod drain;
pub mod elf;
pub mod observe;
mod origin;
pub mod recording;
pub mod rights;
pub mod runtimes;
pub mod server;
pub mod tables;
pub mod target;
pub mod text;
pub mod views;
