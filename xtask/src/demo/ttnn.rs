//! The cast: programs on the real runtime, each on mock boards of its own.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::Actor;
use crate::{lab, paths};

pub fn actors(repository: &Path) -> Result<Vec<Actor>> {
    let environment = lab::environment(&paths::cache()?, lab::NEWEST)?;
    let script = repository.join("tests/ttnn/churn.py");
    let actor = |words: &str, returns| {
        let mut program = Command::new(environment.python());
        program
            .arg(&script)
            .arg("--leash")
            .args(words.split_whitespace());
        Actor { program, returns }
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
