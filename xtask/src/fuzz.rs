//! `cargo xtask fuzz`: libFuzzer on everything that reads foreign bytes (`tests/fuzz`).
//!
//! The flags are those of cargo-fuzz, which cannot build these crates itself: it has no way to hand
//! `--ignore-rust-version` on.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use crate::{
    packages, paths,
    shell::{capture, cargo, run, shown, step, which},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to fuzz (the files of tests/fuzz/src/targets); everything where nothing is named
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// How many targets run at one time
    #[arg(long, value_name = "N", default_value_t = jobs())]
    jobs: usize,
    /// Run one target on this file alone, as is done to look at a crash
    #[arg(long, value_name = "FILE", requires = "targets")]
    input: Option<PathBuf>,
    /// Take inputs that reach something new into tests/fuzz/corpus
    #[arg(long, conflicts_with = "input")]
    keep: bool,
}

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Coverage of edges, and what numbers are compared with.
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    "--cfg",
    "fuzzing",
];
/// Of one target, in MiB: all of it, and one allocation.
const MEMORY: u64 = 2048;
const ALLOCATION: u64 = 512;
/// Seconds for one input. It is milliseconds where the machine has nothing else to do.
const PATIENCE: u64 = 30;
/// An input that is kept is no longer than this.
const LONGEST_KEPT: u64 = 2048;

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub fn main(args: &Args) -> Result<()> {
    let fuzz = Fuzz::new()?;
    let targets = fuzz.chosen(&args.targets)?;
    fuzz.build()?;
    match (&args.input, targets.as_slice()) {
        (Some(input), [target]) => run(fuzz.program(target).arg(input)),
        (Some(_), _) => bail!("--input is for one target"),
        (None, _) => {
            let done = fuzz.all(&targets, args.seconds, args.jobs);
            if args.keep {
                for target in &targets {
                    fuzz.keep(target)?;
                }
            }
            done
        }
    }
}

/// Every target for so many seconds, as a check among others.
pub fn check(seconds: u64) -> Result<()> {
    let fuzz = Fuzz::new()?;
    let targets = fuzz.chosen(&[])?;
    fuzz.build()?;
    fuzz.all(&targets, seconds, jobs())
}

struct Fuzz {
    repository: PathBuf,
    folder: PathBuf,
    target: PathBuf,
}

impl Fuzz {
    fn new() -> Result<Self> {
        let repository = paths::repository()?;
        Ok(Self {
            folder: repository.join("tests/fuzz"),
            target: paths::target(&repository).join("fuzz"),
            repository,
        })
    }

    fn chosen(&self, wanted: &[String]) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.folder.join("src/targets"))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if name != "mod" {
                all.push(name.into_owned());
            }
        }
        all.sort();
        if wanted.is_empty() {
            return Ok(all);
        }
        if let Some(odd) = wanted.iter().find(|name| !all.contains(name)) {
            bail!("there is no target {odd}; there are {}", all.join(", "));
        }
        Ok(wanted.to_vec())
    }

    fn build(&self) -> Result<()> {
        // libFuzzer itself is C++.
        if packages::have_apt() && which("g++").is_none() {
            packages::install(&["g++", "libc6-dev"])?;
        }
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        let mut cargo = cargo(&self.repository);
        if has_address_sanitizer()? {
            flags.push("-Zsanitizer=address".to_owned());
            // The flag is not stable, and all that is built gets it.
            cargo.env("RUSTC_BOOTSTRAP", "1");
        } else {
            step("this toolchain has no AddressSanitizer: fuzzing without it");
        }
        step("building what is fuzzed");
        cargo
            // Its lock file follows what the crates depend on.
            .args(["build", "--quiet", "--release", "--ignore-rust-version"])
            // What runs while building is built without these flags.
            .args(["--target", TRIPLE, "--manifest-path"])
            .arg(self.folder.join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env_remove("RUSTFLAGS");
        run(&mut cargo).context("what is fuzzed cannot be built; it needs g++, for libFuzzer")
    }

    /// The program that runs a target.
    fn program(&self, target: &str) -> Command {
        let program = self.target.join(TRIPLE).join("release/memmon-fuzz");
        let mut command = Command::new(program);
        command.env("MEMMON_FUZZ_TARGET", target);
        command
    }

    fn seeds(&self, target: &str) -> PathBuf {
        self.folder.join("corpus").join(target)
    }

    /// What was found worth keeping, from run to run.
    fn corpus(&self, target: &str) -> PathBuf {
        self.target.join("corpus").join(target)
    }

    fn all(&self, targets: &[String], seconds: u64, jobs: usize) -> Result<()> {
        step(format!(
            "fuzzing: {} targets, {seconds} s each, {jobs} at a time",
            targets.len()
        ));
        let waiting = Mutex::new(targets.iter());
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, targets.len()) {
                scope.spawn(|| {
                    let next = || {
                        waiting
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .next()
                    };
                    while let Some(target) = next() {
                        match self.one(target, seconds) {
                            Ok(line) => eprintln!("    {target:<12}{line}"),
                            Err(error) => {
                                eprintln!("error: {target}: {error:#}");
                                let mut failed =
                                    failed.lock().unwrap_or_else(PoisonError::into_inner);
                                failed.push(target.as_str());
                            }
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if failed.is_empty() {
            return Ok(());
        }
        bail!("fuzzing found something: {}", failed.join(", "))
    }

    /// Runs one target; how far it came, in words.
    fn one(&self, target: &str, seconds: u64) -> Result<String> {
        let seeds = self.seeds(target);
        // Without any, little more than the first `if` is ever run.
        let has_seeds = std::fs::read_dir(&seeds).is_ok_and(|mut files| files.next().is_some());
        if !has_seeds {
            bail!("it has no seeds in {}", seeds.display());
        }
        let corpus = self.corpus(target);
        let found = self.target.join("found").join(target);
        for folder in [&corpus, &found] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut artifacts = OsString::from("-artifact_prefix=");
        artifacts.push(found.join(""));
        let mut command = self.program(target);
        command
            .arg(&corpus)
            .arg(artifacts)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={PATIENCE}"))
            .arg(format!("-rss_limit_mb={MEMORY}"))
            .arg(format!("-malloc_limit_mb={ALLOCATION}"))
            .args(["-max_len=8192", "-print_final_stats=1"])
            .current_dir(&self.repository);
        command.arg(seeds);
        let output = command
            .output()
            .with_context(|| format!("cannot run `{}`", shown(&command)))?;
        let text = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Ok(summary(&text));
        }
        let input = text
            .lines()
            .find_map(|line| line.split_once("Test unit written to "))
            .map_or_else(
                || "(none was written)".to_owned(),
                |(_, path)| path.to_owned(),
            );
        let report = self.target.join(format!("found/{target}.txt"));
        let _ = std::fs::write(&report, &output.stderr);
        bail!(
            "{}\n    the input:    {input}\n    run it again: cargo xtask fuzz {target} --input {input}\n    \
             everything:   {}",
            reason(&text),
            report.display()
        )
    }

    /// The smallest set of short inputs that reaches all that was reached becomes the seed corpus.
    fn keep(&self, target: &str) -> Result<()> {
        let seeds = self.seeds(target);
        std::fs::create_dir_all(&seeds)?;
        let mut merge = self.program(target);
        merge
            .args(["-merge=1", &format!("-max_len={LONGEST_KEPT}")])
            .args([&seeds, &self.corpus(target)]);
        capture(&mut merge)?;
        Ok(())
    }
}

/// Whether the compiler comes with the runtime of AddressSanitizer.
fn has_address_sanitizer() -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let folder = capture(Command::new(rustc).args(["--print", "target-libdir"]))?;
    let entries = std::fs::read_dir(Path::new(folder.trim()));
    Ok(entries.is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().ends_with("_rt.asan.a")
        })
    }))
}

fn summary(text: &str) -> String {
    let number = |line: &str, name: &str| {
        let mut words = line.split_whitespace();
        words.find(|word| *word == name)?;
        words.next().map(str::to_owned)
    };
    let last = text
        .lines()
        .rev()
        .find(|line| line.contains(" ft: "))
        .unwrap_or_default();
    let unknown = || "?".to_owned();
    let runs = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    format!(
        "{:>10} runs   {:>6} edges   {:>6} features",
        runs.unwrap_or("?").trim(),
        number(last, "cov:").unwrap_or_else(unknown),
        number(last, "ft:").unwrap_or_else(unknown),
    )
}

/// The first lines that say what went wrong.
fn reason(text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| {
        !(line.contains("panicked at") || line.contains("ERROR:") || line.contains("SUMMARY:"))
    });
    let said: Vec<&str> = lines.by_ref().take(3).collect();
    match said.as_slice() {
        [] => "it ended badly".to_owned(),
        said => said.join("\n    "),
    }
}
