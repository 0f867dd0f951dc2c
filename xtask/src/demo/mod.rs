//! `cargo xtask demo`: several real processes on mock devices, and the view on them.

mod fixture;
mod troupe;
mod ttnn;

use std::{path::Path, process::Command};

use anyhow::Result;

use self::troupe::{Actor, Troupe};
use crate::{
    build, paths,
    shell::{as_root, cargo, run, step, succeeds, which},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the table once and end, instead of the live view
    #[arg(long)]
    once: bool,
    /// Print what the live view shows after so many seconds, as text, and end
    #[arg(long, value_name = "SECONDS", conflicts_with = "once")]
    screen: Option<f64>,
    /// Keys to press before that: `\r` is Enter, `\e` Esc, `\t` Tab, and `\w` waits for a second
    #[arg(long, default_value = "", requires = "screen")]
    keys: String,
    /// How large that screen is
    #[arg(
        long,
        value_name = "WIDTHxHEIGHT",
        default_value = "120x34",
        requires = "screen"
    )]
    size: String,
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
    let shown = show(&repository, &binary, args);
    drop(troupe);
    shown
}

fn show(repository: &Path, binary: &Path, args: &Args) -> Result<()> {
    let mut view = viewer(binary)?;
    if let Some(seconds) = args.screen {
        let mut print = cargo(repository);
        print
            .args(["run", "--quiet", "--release", "--ignore-rust-version"])
            .args(["-p", "memmon-tests", "--example", "screen", "--"])
            .args([&args.size, &seconds.to_string(), &args.keys])
            .arg(view.get_program())
            .args(view.get_args())
            .arg("--all");
        return run(&mut print);
    }
    if args.once {
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
