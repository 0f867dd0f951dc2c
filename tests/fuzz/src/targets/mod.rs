//! What is fuzzed, each in a file of its own.

mod arguments;
mod cache;
mod client;
mod code;
mod daemon;
mod elf;
mod expression;
mod http;
mod journal;
mod landing;
mod level_zero;
mod manifest;
mod opencl;
mod proc;
mod profile;
mod recording;
mod terminal;
mod vulkan;
mod walk;
mod wire;

/// Each by its name.
pub const ALL: [(&str, fn(&[u8])); 20] = [
    ("arguments", arguments::run),
    ("cache", cache::run),
    ("client", client::run),
    ("code", code::run),
    ("daemon", daemon::run),
    ("elf", elf::run),
    ("expression", expression::run),
    ("http", http::run),
    ("journal", journal::run),
    ("landing", landing::run),
    ("level_zero", level_zero::run),
    ("manifest", manifest::run),
    ("opencl", opencl::run),
    ("proc", proc::run),
    ("profile", profile::run),
    ("recording", recording::run),
    ("terminal", terminal::run),
    ("vulkan", vulkan::run),
    ("walk", walk::run),
    ("wire", wire::run),
];
