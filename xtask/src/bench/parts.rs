//! What memmon itself takes, part by part: each also by a flag of its own.

use std::path::Path;

use anyhow::Result;

use super::{cost, drain, idle, observers::Programs, quit, scale, start};
use crate::shell::step;

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Parts {
    /// Only what an allocation and its free cost the observed: under nobody, empty probes, memmon and other tools
    #[arg(long)]
    cost: bool,
    /// Only what taking in events costs: how many a second, at what cost, and what a live allocation takes
    #[arg(long)]
    drain: bool,
    /// Only what it costs while nothing is allocated
    #[arg(long)]
    idle: bool,
    /// Only how long it takes to understand a real library, and to the first true snapshot
    #[arg(long)]
    start: bool,
    /// Only how long attaching to copies of a library, and quitting, take
    #[arg(long)]
    quit: bool,
    /// Only how it scales: processes, threads, chips
    #[arg(long)]
    scale: bool,
}

/// What there is to measure with.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    pub repository: &'a Path,
    pub programs: &'a Programs,
    /// The folder of the double: `inline` and `pimpl` in it.
    pub fixture: &'a Path,
    pub copies: u32,
    pub rounds: u32,
    /// Not on the real runtime.
    pub only_fixture: bool,
    /// Print the figure of every turn too.
    pub raw: bool,
}

impl Parts {
    pub fn any(self) -> bool {
        self.cost || self.drain || self.idle || self.start || self.quit || self.scale
    }

    /// Those that were asked for; all where none was.
    pub fn measure(self, bench: Bench<'_>) -> Result<()> {
        let all = !self.any();
        if all || self.cost {
            step("what observing costs");
            cost::measure(bench)?;
        }
        if all || self.drain {
            step("taking in events");
            drain::measure(bench)?;
        }
        if all || self.idle {
            step("doing nothing");
            idle::measure(bench)?;
        }
        if all || self.start {
            step("starting");
            start::measure(bench)?;
        }
        if all || self.quit {
            step("attaching to copies of a library, and quitting");
            quit::measure(bench)?;
        }
        if all || self.scale {
            step("processes, threads, chips");
            scale::measure(bench)?;
        }
        Ok(())
    }
}
