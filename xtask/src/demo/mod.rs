//! `cargo xtask demo`: several real processes on mock devices, and the view on them.

mod fixture;
mod troupe;
mod ttnn;

use std::{path::Path, process::Command};

use anyhow::Result;

use self::troupe::{Actor, Troupe};
use crate::{
    build, paths,
    shell::{as_root, run, step, succeeds, which},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the table once and end, instead of the live view
    #[arg(long)]
    once: bool,
}

pub fn main(args: &Args) -> Result<()> {
    let repository = paths::repository()?;
    let binary = build::release(&repository)?;
    let actors = match ttnn::actors(&repository) {
        Ok(actors) => actors,
        Err(error) => {
            step(format!(
                "no ttnn here ({error:#}): the fixture takes its place"
            ));
            fixture::actors(&repository)?
        }
    };
    step(format!("starting {} processes", actors.len()));
    // They end when this goes, whichever way that happens.
    let troupe = Troupe::start(actors)?;
    let shown = show(&binary, args.once);
    drop(troupe);
    shown
}

fn show(binary: &Path, once: bool) -> Result<()> {
    let mut view = viewer(binary)?;
    if once {
        run(view.args(["-q", "--format", "table"]))
    } else {
        run(view.arg("--all"))
    }
}

/// The program, to end with this one even where this one is killed.
fn viewer(binary: &Path) -> Result<Command> {
    let direct = as_root(binary)?;
    let leash = ["--pdeathsig", "TERM"];
    if direct.get_args().count() > 0
        || which("setpriv").is_none()
        || !succeeds(Command::new("setpriv").args(leash).arg("true"))
    {
        return Ok(direct);
    }
    let mut view = Command::new("setpriv");
    view.args(leash).arg(binary);
    Ok(view)
}
