//! libFuzzer on everything that reads foreign bytes: on the target that `MEMMON_FUZZ_TARGET` names. One program for
//! all of them, for building it takes longer than anything else.
#![no_main]

mod code;
mod decoders;
mod frames;
mod image;
mod programs;
mod targets;
mod views;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn target() -> fn(&[u8]) {
    let wanted = std::env::var("MEMMON_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.into_iter().find(|(name, _)| *name == wanted);
    let (_, run) =
        found.unwrap_or_else(|| panic!("MEMMON_FUZZ_TARGET={wanted}: there is no such target"));
    run
}

fuzz_target!(|data: &[u8]| {
    TARGET.get_or_init(target)(data);
});
