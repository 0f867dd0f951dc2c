//! What is fuzzed, each in a file of its own.

mod arguments;
mod client;
mod code;
mod daemon;
mod elf;
mod expression;
mod http;
mod journal;
mod proc;
mod profile;
mod recording;
mod terminal;
mod walk;
mod wire;

/// Each by its name.
pub const ALL: [(&str, fn(&[u8])); 14] = [
    ("arguments", arguments::run),
    ("client", client::run),
    ("code", code::run),
    ("daemon", daemon::run),
    ("elf", elf::run),
    ("expression", expression::run),
    ("http", http::run),
    ("journal", journal::run),
    ("proc", proc::run),
    ("profile", profile::run),
    ("recording", recording::run),
    ("terminal", terminal::run),
    ("walk", walk::run),
    ("wire", wire::run),
];
