//! `memmon-ebpf doctor`

use std::{io::IsTerminal as _, process::ExitCode};

use super::{
    args::{Doctor, ReportFormat},
    exit::{DONE, FAILED, Failure, NOT_PERMITTED},
};
use crate::{
    doctor::{self, Options, Report, Verdict, text},
    views::{environment, output},
};

pub async fn main(args: &Doctor) -> Result<ExitCode, Failure> {
    let options = Options {
        runtimes: args.runtimes.load()?,
        socket: args.socket.clone(),
        assume_kernel: args.assume_kernel.clone(),
    };
    let report = doctor::examine(&options).await;
    let text = match args.format {
        ReportFormat::Text => text::render(&report, style()),
        ReportFormat::Json => json(&report)?,
    };
    let _ = output::write_whole(None, &text)?;
    Ok(ExitCode::from(match report.verdict {
        Verdict::Able | Verdict::ThroughDaemon => DONE,
        Verdict::NotPermitted => NOT_PERMITTED,
        Verdict::Unable => FAILED,
    }))
}

fn style() -> text::Style {
    text::Style {
        color: environment::color() && std::io::stdout().is_terminal(),
        ascii: !environment::utf8(),
    }
}

fn json(report: &Report) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}
