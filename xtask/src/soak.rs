//! `cargo xtask soak`: real and fixture load for a long time, compared with the allocators' own numbers all the while.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{
    build, lab, packages, paths,
    shell::{is_root, step, which},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long the load goes on; after it comes a minute in which what ended is forgotten
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Another one does other things
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Releases of ttnn
    #[arg(long, value_name = "VERSION", value_delimiter = ',', default_values = lab::USUAL)]
    releases: Vec<String>,
}

pub fn main(args: &Args) -> Result<()> {
    let repository = paths::repository()?;
    let cache = paths::cache()?;
    if packages::have_apt() && which("g++").is_none() {
        packages::install(&["g++", "libc6-dev"])?;
    }
    for version in &args.releases {
        lab::environment(&cache, version)?;
    }
    let memmon = build::release(&repository)?;
    let soak = build::of_tests(&repository, "soak")?;
    // From here on it is that program: its signals, its exit code.
    step(format!("soaking for {} minutes", args.minutes));
    let variables = [
        ("MEMMON_LAB", cache.as_os_str().to_owned()),
        ("MEMMON_VERSIONS", args.releases.join(" ").into()),
        ("MEMMON_BIN", memmon.into_os_string()),
        (
            "CARGO_TARGET_DIR",
            paths::target(&repository).into_os_string(),
        ),
    ];
    let mut command = if is_root() {
        Command::new(&soak)
    } else {
        let names = variables.each_ref().map(|(name, _)| *name).join(",");
        let mut sudo = Command::new("sudo");
        sudo.arg(format!("--preserve-env={names},HOME,PATH"))
            .arg(&soak);
        sudo
    };
    let error = command
        .args([args.minutes.to_string(), args.seed.to_string()])
        .envs(variables)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", soak.display()))
}
