//! The cast: programs on the real runtime, each on mock boards of its own.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::{Context, Result};

use super::Actor;
use crate::{lab, paths};

pub fn actors(repository: &Path) -> Result<Vec<Actor>> {
    let environment = lab::environment(&paths::cache()?, lab::NEWEST)?;
    let scripts = repository.join("tests/ttnn");
    let python = environment.python();
    // Python finds its environment by its name in PATH: so the view shows commands as one would type them.
    let mut path = python
        .parent()
        .context("python lies in a folder")?
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let actor = |words: &str, returns| {
        let mut program = Command::new(&python);
        program
            .arg0("python")
            .env("PATH", &path)
            .current_dir(&scripts)
            .args(["churn.py", "--leash"])
            .args(words.split_whitespace());
        Actor {
            program,
            opening: String::new(),
            scenes: Vec::new(),
            returns,
        }
    };
    Ok(vec![
        // A big model that is being trained.
        actor("--base 4096 --most 512 --pause 0.2 --seed 1", false),
        // A small one that computes.
        actor(
            "--base 512 --most 16 --operations --pause 0.02 --seed 2",
            false,
        ),
        // One on both chips of an N300.
        actor("--mesh 1x2 --base 1536 --most 128 --seed 3", false),
        // One that is refused memory again and again.
        actor("--base 256 --most 32 --oom --seed 4", false),
        // One that is killed, and comes back.
        actor("--base 1024 --most 64 --crash-after 20 --seed 5", true),
    ])
}
