//! A profile: TOML of any kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memmon::runtimes::profile::{parse, report};
use memmon_fuzz::programs;

fuzz_target!(|text: &str| {
    match parse("fuzzed.toml", text) {
        Ok(profile) => {
            programs::use_profile(&profile);
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            assert!(report::errors(&errors).contains("fuzzed.toml"));
        }
    }
});
