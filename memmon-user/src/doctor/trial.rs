//! Whether it really works: the BPF programs are loaded, and a probe is hit.

use std::{io, time::Instant};

use super::{Area, Check, State, self_test};
use crate::{
    attach::{
        features::Features,
        kernel::{Kernel, Settings},
    },
    discover::watch::MappingWatch,
    rights::{Held, TO_OBSERVE},
};

const AREA: Area = Area::Trial;
const PROGRAMS: &str = "BPF programs";
const WATCH: &str = "new libraries";
const PROBE: &str = "probe";

pub fn checks(assumed: Option<&str>, held: Held) -> Vec<Check> {
    if !held.lacking(&TO_OBSERVE).is_empty() {
        return vec![untried("rights are missing")];
    }
    match Features::detect(assumed) {
        Ok(features) => {
            let mut checks = kernel(&features);
            checks.push(watch());
            checks
        }
        Err(_) => vec![untried("the kernel lacks what is needed")],
    }
}

fn untried(why: &str) -> Check {
    AREA.finds(
        PROGRAMS,
        State::Unchecked,
        format!("not tried: {why}"),
        "mend what is said above first",
    )
}

fn kernel(features: &Features) -> Vec<Check> {
    let started = Instant::now();
    // Only the doctor's own child counts: another doctor may be at work.
    let settings = Settings {
        narrowed: true,
        inherit_scope: true,
        ..Settings::default()
    };
    let mut kernel = match Kernel::load(features, &settings) {
        Ok((kernel, _rings)) => kernel,
        Err(error) => return vec![refused(PROGRAMS, error.is_permission(), error)],
    };
    let took = started.elapsed().as_millis();
    let verified = match kernel.verified_instructions() {
        Some(count) => format!(" ({count} instructions verified a probe)"),
        None => String::new(),
    };
    let loaded = AREA.ok(PROGRAMS, format!("loaded in {took} ms{verified}"));
    vec![loaded, probe(&mut kernel)]
}

fn probe(kernel: &mut Kernel) -> Check {
    match self_test::run(kernel) {
        Ok(passed) => AREA.ok(PROBE, passed.to_string()),
        Err(error) => {
            let permission =
                matches!(&error, self_test::Error::Kernel(error) if error.is_permission());
            refused(PROBE, permission, error)
        }
    }
}

fn watch() -> Check {
    match MappingWatch::open() {
        Ok(_) => AREA.ok(WATCH, "seen the moment they are mapped (perf_event_open)"),
        Err(error) => refused(
            WATCH,
            error.kind() == io::ErrorKind::PermissionDenied,
            anyhow::Error::new(error).context("perf_event_open"),
        ),
    }
}

fn refused(name: &'static str, permission: bool, error: impl Into<anyhow::Error>) -> Check {
    // With its causes: the verifier's reasons stand there.
    let finding = format!("{:#}", error.into());
    if permission {
        return AREA.finds(
            name,
            State::NotPermitted,
            finding,
            "the capabilities are there: a seccomp filter of a container, a security module or lockdown refuses it; \
             run it outside of that",
        );
    }
    AREA.finds(
        name,
        State::Failed,
        finding,
        "please report it, with all that the doctor says",
    )
}
