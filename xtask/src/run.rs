//! `cargo xtask run -- ARGS`: memmon-ebpf from these sources, with the rights it needs.

use std::{ffi::OsString, os::unix::process::CommandExt};

use anyhow::{Context, Result};

use crate::{build, paths, shell::as_root};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What memmon-ebpf is called with
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub fn main(args: &Args) -> Result<()> {
    let binary = build::release(&paths::repository()?)?;
    // From here on it is that program: its signals, its exit code.
    let error = as_root(&binary)?.args(&args.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", binary.display()))
}
