//! A profile: TOML of any kind.
use crate::programs;
use memmon::runtimes::profile::{parse, report};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match parse("fuzzed.toml", text) {
        Ok(profile) => {
            programs::use_profile(&profile);
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            assert!(report::errors(&errors).contains("fuzzed.toml"));
        }
    }
}
