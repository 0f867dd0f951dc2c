//! Audits, asked for as anybody asks for them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memmon::tables::audit::{Report, Verdict};

use crate::memmon::{Daemon, run};

/// The report, and the exit code.
pub fn audit_by(args: &[&str]) -> Result<(Report, i32)> {
    let output = run(&[&["audit", "--format", "json"], args].concat())?;
    let code = output.status.code().context("no exit code")?;
    let report = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{code}: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((report, code))
}

pub fn audit(daemon: &Daemon) -> Result<(Report, i32)> {
    let socket = daemon.socket();
    audit_by(&["--socket", socket.to_str().context("a plain path")?])
}

/// An audit in which every row is settled.
pub fn settled(daemon: &Daemon) -> Result<(Report, i32)> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (report, code) = audit(daemon)?;
        if report.count(Verdict::Unsettled) == 0 || code != 0 {
            return Ok((report, code));
        }
        if Instant::now() > until {
            bail!("it never settles: {report:#?}");
        }
    }
}
