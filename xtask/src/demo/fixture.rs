//! The cast where there is no Python or no network: the double of `libtt_metal.so`, told what to do line by line.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::Actor;
use crate::fixture;

const MIB: u64 = 1 << 20;

pub fn actors(repository: &Path) -> Result<Vec<Actor>> {
    let built = fixture::build(repository)?;
    let actor = |layout: &str, opening: &str, scenes: Vec<String>, returns| Actor {
        program: Command::new(built.join(layout).join("fixture")),
        opening: opening.to_owned(),
        scenes,
        returns,
    };
    let alloc =
        |name: &str, pool: &str, mib: u64| format!("alloc {name} {pool} {} 2048", mib * MIB);
    // Grows to `count` tensors and shrinks again.
    let wave = |count: u64, mib: u64| {
        let names: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
        let up = names
            .iter()
            .enumerate()
            .map(|(at, name)| alloc(name, "DRAM", mib * (1 + at as u64 % 4)));
        let down = names.iter().map(|name| format!("free {name}"));
        up.chain(down).collect::<Vec<_>>()
    };
    let mut crash = wave(120, 8);
    crash.push("kill9".to_owned());
    let mut refused = wave(20, 16);
    refused.push("oom DRAM".to_owned());
    let mut small = wave(10, 4);
    small.extend([alloc("near", "L1", 1), "free near".to_owned()]);
    Ok(vec![
        actor("pimpl", &alloc("base", "DRAM", 4096), wave(40, 64), false),
        actor("pimpl", "open", small, false),
        actor("pimpl", "open chips 2", wave(60, 32), false),
        actor("inline", "open", refused, false),
        actor("inline", &alloc("base", "DRAM", 1024), crash, true),
    ])
}
