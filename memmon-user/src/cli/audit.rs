//! `memmon-ebpf audit`: do the rows agree with the allocators' own numbers?

use std::{path::Path, process::ExitCode, time::Duration};

use tokio::sync::oneshot;

use super::{
    args::{Audit, AuditFormat, DEFAULT_SOCKET},
    exit::{FAILED, Failure},
    query, rights,
};
use crate::{
    observe::{AuditRequest, Observation, Options, Runtimes},
    server::{Client, ClientError},
    tables::{
        Filter,
        audit::{Report, Verdict},
    },
    views::{audit, output},
};

pub async fn main(args: &Audit) -> Result<ExitCode, Failure> {
    let runtimes = args.runtimes.load()?;
    // Said before anything about permission.
    query::check_pids(&args.pids)?;
    let report = match ask_daemon(args).await? {
        Some(report) => report,
        None => look(args, args.runtimes.load()?).await?,
    };
    for pid in &args.pids {
        if report.processes == 0 || query::maps_no_runtime(&runtimes, *pid) {
            return Err(query::no_runtime(*pid));
        }
    }
    let text = match args.format {
        AuditFormat::Table => audit::table(&report),
        AuditFormat::Json => audit::json(&report)?,
    };
    let _ = output::write_whole(None, &text)?;
    Ok(match report.count(Verdict::Differed) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILED),
    })
}

async fn ask_daemon(args: &Audit) -> Result<Option<Report>, Failure> {
    let path = args.socket.as_deref();
    let mut client =
        match Client::connect(path.unwrap_or(Path::new(DEFAULT_SOCKET)), Duration::ZERO).await {
            Ok(client) => client,
            Err(ClientError::NoDaemon { .. }) if path.is_none() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    match client.audit(args.pids.clone()).await? {
        Some(report) => Ok(Some(report)),
        None => Err(busy()),
    }
}

/// Observes for a moment: what is recovered is compared with what the allocators then hold.
async fn look(args: &Audit, runtimes: Runtimes) -> Result<Report, Failure> {
    rights::to_observe()?;
    let options = Options {
        filter: Filter {
            pids: args.pids.clone(),
            ..Filter::default()
        },
        ..Options::default()
    };
    let observation = Observation::start(options, runtimes, Duration::from_secs(1))?;
    rights::keep_to_write([])?;
    let (reply, answer) = oneshot::channel();
    let request = AuditRequest {
        pids: args.pids.clone(),
        reply,
    };
    let asked = observation.audits().send(request).await.is_ok();
    let report = if asked { answer.await.ok() } else { None };
    observation.stop();
    report.ok_or_else(busy)
}

fn busy() -> Failure {
    Failure::new("too many audits are asked for at this moment; ask again later")
}
