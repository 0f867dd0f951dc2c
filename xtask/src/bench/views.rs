//! What looking costs: a frame, a client's question, a scrape. Over made-up snapshots; no root.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    build,
    shell::{run, step},
};

/// How much there is to look at.
const PROCESSES: &str = "1000";
const DEVICES: &str = "8";

pub fn measure(repository: &Path) -> Result<()> {
    let binary = build::release(repository)?;
    step("drawing 10,000 processes");
    run(&mut Command::new(build::example(repository, "frame_time")?))?;
    step("asking a daemon");
    run(Command::new(build::example(repository, "client_cost")?)
        .args([PROCESSES, DEVICES])
        .arg(binary))?;
    step("scraping a daemon");
    run(&mut Command::new(build::example(
        repository,
        "scrape_cost",
    )?))
}
