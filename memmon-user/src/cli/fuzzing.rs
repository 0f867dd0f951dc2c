//! The command line without what it does, for `tests/fuzz`.

use clap::Parser as _;

use super::args::Args;

/// Reads arguments, the program's name left out.
pub fn parse<'a>(arguments: impl Iterator<Item = &'a str>) {
    let all = std::iter::once("memmon-ebpf").chain(arguments);
    if let Err(error) = Args::try_parse_from(all) {
        assert!(!error.to_string().is_empty());
    }
}
