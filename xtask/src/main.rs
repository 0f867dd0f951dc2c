//! `cargo xtask VERB`: everything around the code that is not the code.

mod bpf;
mod packages;
mod paths;
mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Builds, runs, tests and demonstrates memmon-ebpf",
    after_help = "What is downloaded goes to ${XDG_CACHE_HOME:-~/.cache}/memmon-ebpf; MEMMON_CACHE names another place."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the BPF programs into memmon-ebpf/object (which is committed: users need not do this)
    Bpf(bpf::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Bpf(args) => bpf::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
