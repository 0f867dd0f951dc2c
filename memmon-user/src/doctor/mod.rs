//! `memmon-ebpf doctor`: what this machine allows, what was found, and what to do about the rest.
//!
//! Every family of checks has a file of its own and returns [`Check`]s; [`text`] is how people see
//! them, serde how programs do.

mod check;
mod daemon;
mod found;
mod kernel;
mod rights;
mod self_test;
mod settings;
pub mod text;
mod tracy;
mod trial;

use std::path::PathBuf;

pub use check::{Area, Check, State};
use nix::unistd::{Uid, User};
use serde::Serialize;

use crate::{observe::Runtimes, rights::Held};

/// The value of [`Report::schema`].
pub const SCHEMA: &str = "memmon.doctor/1";

#[derive(Debug)]
pub struct Options {
    pub runtimes: Runtimes,
    /// Where a daemon would listen.
    pub socket: PathBuf,
    /// Pretend to run on this kernel release.
    pub assume_kernel: Option<String>,
}

/// Whether memmon can do its job here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Able,
    /// This user may not observe, but a daemon answers.
    ThroughDaemon,
    NotPermitted,
    Unable,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub version: &'static str,
    pub user: String,
    pub verdict: Verdict,
    pub checks: Vec<Check>,
}

/// Looks at everything. Nothing is left behind; the only probe is one in memmon itself.
pub async fn examine(options: &Options) -> Report {
    let held = Held::now();
    let assumed = options.assume_kernel.as_deref();
    let daemon = daemon::ask(&options.socket).await;
    let mut checks = kernel::checks(assumed);
    checks.extend(settings::checks(held));
    checks.extend(rights::checks(held));
    checks.extend(trial::checks(assumed, held));
    checks.push(tracy::check());
    checks.push(daemon.check(&options.socket));
    checks.extend(found::checks(options, held, daemon.snapshot()));
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        user: user(),
        verdict: verdict(&checks, daemon.snapshot().is_some()),
        checks,
    }
}

fn verdict(checks: &[Check], daemon_answers: bool) -> Verdict {
    let any = |state| checks.iter().any(|check| check.state == state);
    if !any(State::Failed) && !any(State::NotPermitted) {
        Verdict::Able
    } else if daemon_answers {
        Verdict::ThroughDaemon
    } else if any(State::Failed) {
        // More rights alone would not help.
        Verdict::Unable
    } else {
        Verdict::NotPermitted
    }
}

fn user() -> String {
    let uid = Uid::effective();
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rights_cannot_mend_comes_first_and_a_daemon_before_both() {
        let check = |state| Area::Kernel.finds("x", state, "", "");
        let [fine, limited] = [Area::Kernel.ok("x", ""), check(State::Limited)];
        let [rights, machine] = [check(State::NotPermitted), check(State::Failed)];
        let of = |checks: &[&Check], daemon| {
            let checks: Vec<Check> = checks.iter().map(|check| (*check).clone()).collect();
            verdict(&checks, daemon)
        };
        assert_eq!(of(&[&fine, &limited], false), Verdict::Able);
        assert_eq!(of(&[&fine, &rights], false), Verdict::NotPermitted);
        assert_eq!(of(&[&rights, &machine], false), Verdict::Unable);
        assert_eq!(of(&[&rights, &machine], true), Verdict::ThroughDaemon);
    }
}
