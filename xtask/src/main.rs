//! `cargo xtask VERB`: everything around the code that is not the code.

mod bench;
mod bpf;
mod build;
mod cuda;
mod demo;
mod dist;
mod fixture;
mod fuzz;
mod jax;
mod lab;
mod level_zero;
mod opencl;
mod packages;
mod paths;
mod perfetto;
mod prometheus;
mod run;
mod shell;
mod soak;
mod test;

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
    /// Show memmon-ebpf at work on real processes that run on mock devices
    Demo(demo::Args),
    /// Build memmon-ebpf and run it with the rights it needs: `cargo xtask run -- --all`
    Run(run::Args),
    /// Build one file that runs on any x86-64 Linux machine: statically linked, in target/dist
    Dist(dist::Args),
    /// Check everything: formatting, lints, the BPF object, unit and end-to-end tests
    Test(test::Args),
    /// Feed everything that reads foreign bytes with what nobody expects (libFuzzer)
    Fuzz(fuzz::Args),
    /// Measure what observing costs, and how long attaching and quitting take
    Bench(bench::Args),
    /// Compare memmon with the allocators themselves under load, for half an hour
    Soak(soak::Args),
    /// Install real releases of ttnn that run without hardware
    Lab(lab::Args),
    /// Build the BPF programs into memmon-ebpf/object (which is committed: users need not do this)
    Bpf(bpf::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Demo(args) => demo::main(&args),
        Verb::Run(args) => run::main(&args),
        Verb::Dist(args) => dist::main(&args),
        Verb::Test(args) => test::main(&args),
        Verb::Fuzz(args) => fuzz::main(&args),
        Verb::Bench(args) => bench::main(&args),
        Verb::Soak(args) => soak::main(&args),
        Verb::Lab(args) => lab::main(&args),
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
