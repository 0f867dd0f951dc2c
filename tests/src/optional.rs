//! Tests of what cannot be had on every machine. Where it is missing they are counted as ignored, and say why: never as
//! passed. The harness that comes with Rust cannot do that, so their files have none (`harness = false`).

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Why a test was not run; it is the error that the test ends with.
#[derive(Debug)]
pub struct NotRun(pub String);

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not run: {}", self.0)
    }
}

impl Error for NotRun {}

/// Ends a test that needs a file which is not there.
pub fn needs(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let why = format!(
        "{} is not there; `cargo xtask test` installs it where it can be had",
        file.display()
    );
    Err(NotRun(why).into())
}

/// A file that `cargo xtask test` fetches.
pub fn fetched(name: &str) -> Result<PathBuf> {
    let lab = std::env::var_os("MEMMON_LAB").context("MEMMON_LAB: `cargo xtask test` sets it")?;
    let file = Path::new(&lab).join(name);
    needs(&file)?;
    Ok(file)
}

/// The name of a test, and what it does.
pub type Case = (&'static str, fn() -> Result<()>);

/// The `main` of such a file.
pub fn main(cases: &[Case]) -> ExitCode {
    let trial = |(name, run): &Case| {
        let run = *run;
        Trial::ignorable_test(*name, move || completion(run()))
    };
    let trials = cases.iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn completion(result: Result<()>) -> Result<Completion, Failed> {
    let Err(error) = result else {
        return Ok(Completion::Completed);
    };
    match error.downcast_ref::<NotRun>() {
        Some(why) => Ok(Completion::ignored_with(why)),
        None => Err(format!("{error:?}").into()),
    }
}

/// A file's `main`, of these functions. One that is left out is dead code to the compiler.
#[macro_export]
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::optional::main(&[$((stringify!($name), $name)),+])
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_not_passed() -> Result<()> {
        let missing = needs(Path::new("/no/such/file")).context("around it");
        let ended = completion(missing).map_err(|failed| anyhow::anyhow!("{failed:?}"))?;
        assert!(matches!(ended, Completion::Ignored { .. }));
        assert!(completion(Err(anyhow::anyhow!("wrong"))).is_err());
        let ended =
            completion(needs(Path::new("/"))).map_err(|failed| anyhow::anyhow!("{failed:?}"))?;
        assert!(matches!(ended, Completion::Completed));
        Ok(())
    }
}
