//! `memmon-ebpf profiles`

use std::process::ExitCode;

use super::{
    args::{Profiles, ProfilesAction, ReportFormat},
    exit::{FAILED, Failure},
};
use crate::{
    runtimes::profile::{self, report},
    views::output,
};

pub fn main(args: &Profiles) -> Result<ExitCode, Failure> {
    let text = match &args.action {
        None => {
            let known = profile::with_user(&args.profiles)
                .map_err(|errors| Failure::new(report::errors(&errors)))?;
            match args.format {
                ReportFormat::Text => report::list(&known),
                ReportFormat::Json => report::list_json(&known),
            }
        }
        Some(ProfilesAction::Check { file, explain }) => {
            let unsound = |errors: Vec<_>| {
                let text = format!("this profile is not sound:\n{}", report::errors(&errors));
                Failure::with(FAILED, text)
            };
            let profile = profile::load(file).map_err(unsound)?;
            // With those that it would be used beside: no byte may be counted twice.
            let beside = args.profiles.iter().filter(|other| *other != file);
            let all: Vec<_> = beside.chain([file]).collect();
            profile::with_user(&all).map_err(unsound)?;
            report::check(&profile, *explain)
        }
    };
    let _ = output::write_whole(None, &text)?;
    Ok(ExitCode::SUCCESS)
}
