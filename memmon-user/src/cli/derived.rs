//! What the command line's own description is turned into: completions and manual pages.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path, process::ExitCode};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{args::Args, exit::Failure};
use crate::views::output;

const NAME: &str = "memmon-ebpf";

/// `memmon-ebpf completions SHELL`
pub fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), NAME, &mut script);
    write(None, &script)?;
    Ok(ExitCode::SUCCESS)
}

/// `memmon-ebpf man`
pub fn manual(folder: Option<&Path>) -> Result<ExitCode, Failure> {
    let mut command = told_in_full(Args::command().disable_help_subcommand(true));
    command.build();
    match folder {
        None => write(None, &page(&command)?.1)?,
        Some(folder) => {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
            made.map_err(|error| {
                Failure::new(format!(
                    "cannot make {}: {error}; name another folder with --output",
                    folder.display()
                ))
            })?;
            pages(&command, folder)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Options that `-h` leaves out belong into the manual.
fn told_in_full(command: Command) -> Command {
    command
        .mut_args(|arg| arg.hide_short_help(false))
        .mut_subcommands(told_in_full)
}

/// A page for the command and each below it.
fn pages(command: &Command, folder: &Path) -> Result<(), Failure> {
    let (name, text) = page(command)?;
    write(Some(&folder.join(name)), &text)?;
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| pages(below, folder))
}

/// A page, and the name of its file.
fn page(command: &Command) -> Result<(String, Vec<u8>), Failure> {
    let name = command.get_display_name().unwrap_or(NAME).to_owned();
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        // None; but where it is empty, what follows takes its place.
        .date(" ")
        .source(format!("{NAME} {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok((man.get_filename(), text))
}

fn write(file: Option<&Path>, text: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(text);
    let _ = output::write_whole(file, &text)?;
    Ok(())
}
