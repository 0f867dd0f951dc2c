//! What it saves that probes stand behind instructions through which the kernel would have to step.
//!
//! The library is C whose functions begin with `endbr64`; empty probes stand where memmon's would, or at the entries.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use super::{
    median,
    parts::Bench,
    scratch,
    subject::{Subject, Work},
};
use crate::shell::run;

const PAIR: Work = Work::new("allocate + free", "pair", 30_000);
/// Both functions of a pair have a probe.
const HITS: f64 = 2.0;

pub fn measure(bench: Bench<'_>) -> Result<()> {
    let (_folder, path) = scratch()?;
    let sources = bench.repository.join("tests/c-api");
    build(&sources, &path)?;
    let profile = bench.repository.join("tests/profiles/c-api.toml");
    let profile = profile.to_str().context("a path that is text")?;
    let mut subject = Subject::start("C".to_owned(), Command::new(path.join("pairs")))?;
    // Its library is mapped before it answers.
    subject.work(&PAIR, 1)?;
    let pid = subject.pid();
    let places: [Option<&[&str]>; 3] = [
        None,
        Some(&["--profile", profile, "--entries"]),
        Some(&["--profile", profile]),
    ];
    let mut turns = [const { Vec::new() }; 3];
    for _ in 0..bench.rounds {
        for (place, turns) in places.iter().zip(&mut turns) {
            let probes = place.map(|words| bench.programs.bare(pid, words));
            let probes = probes.transpose()?;
            turns.push(subject.work(&PAIR, PAIR.count)?);
            if let Some(probes) = probes {
                probes.end()?;
            }
        }
    }
    subject.end()?;
    let [nobody, entries, moved] = turns.each_ref().map(|turns| median(turns));
    println!();
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>9}",
        "functions that begin with endbr64", "ns a pair", "x nobody", "ns a hit", "x moved"
    );
    for (name, ns) in [
        ("nobody observes", nobody),
        ("empty probes at the entries", entries),
        ("empty probes where memmon's stand", moved),
    ] {
        let hit = (ns - nobody) / HITS;
        print!("{name:<44} {ns:>9.0} {:>9.2}", ns / nobody);
        if hit == 0.0 {
            println!();
        } else {
            println!(" {hit:>9.0} {:>9.1}", (ns - nobody) / (moved - nobody));
        }
    }
    Ok(())
}

fn build(sources: &Path, folder: &Path) -> Result<()> {
    let compile = |words: &[&str], source: &str, library: &[&str]| {
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-fcf-protection=full"]).args(words);
        cc.arg(sources.join(source)).args(library);
        run(cc.current_dir(folder))
    };
    let name = "libdev.so.1";
    let soname = format!("-Wl,-soname,{name}");
    compile(&["-shared", "-fPIC", &soname, "-o", name], "dev.c", &[])?;
    let beside = ["./libdev.so.1", "-Wl,-rpath,$ORIGIN"];
    compile(&["-o", "pairs"], "pairs.c", &beside)
}
