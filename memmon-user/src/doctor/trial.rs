//! Whether it really works: the BPF programs are loaded, and a probe is hit.

use std::{fmt::Display, io, time::Instant};

use super::{Area, Check, State, self_test};
use crate::{
    attach::{
        capabilities::{Held, TO_OBSERVE},
        features::Features,
        kernel::{Kernel, KernelError, Settings},
    },
    discover::watch::MappingWatch,
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
    let mut kernel = match Kernel::load(features, &Settings::default()) {
        Ok((kernel, _rings)) => kernel,
        Err(error) => return vec![refused(PROGRAMS, error.is_permission(), chain(&error))],
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
            format!("perf_event_open: {error}"),
        ),
    }
}

fn refused(name: &'static str, permission: bool, error: impl Display) -> Check {
    if permission {
        return AREA.finds(
            name,
            State::NotPermitted,
            error.to_string(),
            "the capabilities are there: a seccomp filter of a container, a security module or lockdown refuses it; \
             run it outside of that",
        );
    }
    AREA.finds(
        name,
        State::Failed,
        error.to_string(),
        "please report it, with all that the doctor says",
    )
}

/// The whole error: the verifier's reasons stand in its causes.
fn chain(error: &KernelError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
