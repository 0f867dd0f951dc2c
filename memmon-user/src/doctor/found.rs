//! What there is to observe: runtimes, their libraries, processes and devices.

use std::cmp::Reverse;

use super::{Area, Check, Options, State};
use crate::{
    attach::plan,
    observe,
    rights::{Held, TO_LOOK},
    tables::snapshot::{Device, Library, Process, Snapshot},
    target::maps,
    text::visible,
    views::health::is_running,
};

const AREA: Area = Area::Found;

/// A daemon's eyes are used where this user's own do not see others' processes.
pub fn checks(options: &Options, held: Held, daemon: Option<&Snapshot>) -> Vec<Check> {
    let sees_all = held.lacking(&TO_LOOK).is_empty();
    let own;
    let snapshot = match daemon {
        Some(snapshot) if !sees_all => snapshot,
        _ => {
            own = observe::query(&observe::Options::default(), &options.runtimes);
            &own
        }
    };
    let mut checks = vec![runtimes(options), processes(snapshot)];
    if !sees_all && daemon.is_none() {
        checks.extend(others());
    }
    checks.extend(snapshot.libraries.iter().map(library));
    checks.extend(snapshot.devices.iter().map(device));
    checks
}

fn runtimes(options: &Options) -> Check {
    let names: Vec<String> = options
        .runtimes
        .facts()
        .into_iter()
        .map(|runtime| runtime.name)
        .collect();
    AREA.ok(
        "runtimes",
        format!("{} (see `memmon-ebpf profiles`)", names.join(", ")),
    )
}

fn processes(snapshot: &Snapshot) -> Check {
    const NAMED: usize = 8;
    let mut running: Vec<&Process> = snapshot
        .processes
        .iter()
        .filter(|p| is_running(p))
        .collect();
    // Those to be named: of which nothing is known, then those that hold most; else the latest.
    running.sort_by_key(|process| {
        let started = Reverse(process.start_time.as_deref());
        (process.usage.is_some(), Reverse(held(process)), started)
    });
    let mut names: Vec<String> = running.iter().take(NAMED).map(|p| name(p)).collect();
    if running.len() > NAMED {
        names.push(format!("{} more", running.len() - NAMED));
    }
    let finding = match running.len() {
        0 => "none maps a known runtime now".to_owned(),
        1 => format!("1 maps a known runtime: {}", names.join(", ")),
        many => format!("{many} map a known runtime: {}", names.join(", ")),
    };
    AREA.ok("processes", finding)
}

fn name(process: &Process) -> String {
    let unknown = match process.usage {
        Some(_) => "",
        None => " (usage unknown)",
    };
    format!("{} {}{unknown}", visible(&process.comm), process.pid)
}

/// Charged bytes, as far as they are known.
fn held(process: &Process) -> u64 {
    let rows = process.usage.iter().flatten();
    rows.filter_map(|row| row.charged_bytes)
        .fold(0, u64::saturating_add)
}

/// Processes whose mappings this user may not read.
fn others() -> Option<Check> {
    let refused = |pid: &u32| {
        maps::of_process(*pid)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    match maps::pids().iter().filter(|pid| refused(pid)).count() {
        0 => None,
        count => Some(AREA.finds(
            "others' processes",
            State::Unchecked,
            format!("{count} cannot be looked into"),
            "run the doctor as root",
        )),
    }
}

fn library(library: &Library) -> Check {
    const NAME: &str = "library";
    let path = visible(&library.path);
    let build = match &library.build_id {
        Some(id) => format!("build {id}"),
        None => "no build id".to_owned(),
    };
    let users = match library.processes {
        1 => "1 process".to_owned(),
        many => format!("{many} processes"),
    };
    let who = format!("{path}\n{}, {build}, {users}", library.runtime);
    if let Some(problem) = &library.problem {
        return AREA.finds(
            NAME,
            State::Limited,
            format!("{who}, not understood: {}", visible(problem)),
            "its processes are shown with `?`; a profile can describe it (docs/profiles.md, `memmon-ebpf profiles`)",
        );
    }
    let layout = library.layout.as_deref().unwrap_or("unknown");
    let (slow, gaps): (Vec<&String>, Vec<&String>) = library
        .notes
        .iter()
        .partition(|note| note.ends_with(plan::SINGLE_STEPPED));
    let who = slow.iter().fold(who, |who, note| format!("{who}, {note}"));
    if gaps.is_empty() {
        return AREA.ok(NAME, format!("{who}, layout {layout}"));
    }
    AREA.finds(
        NAME,
        State::Limited,
        format!("{who}, layout {layout}, but {}", join(&gaps)),
        "those numbers are shown as `?`; please report the build",
    )
}

fn join(notes: &[&String]) -> String {
    let notes: Vec<&str> = notes.iter().map(|note| note.as_str()).collect();
    notes.join("; ")
}

fn device(device: &Device) -> Check {
    let id = device
        .device
        .map_or_else(|| "?".to_owned(), |id| id.to_string());
    let name = device.name.as_deref().unwrap_or("unnamed");
    let uid = device
        .device_uid
        .as_deref()
        .map_or_else(String::new, |uid| format!(", serial {uid}"));
    let pools: Vec<&str> = device.pools.iter().map(|pool| pool.pool.as_str()).collect();
    AREA.ok(
        "device",
        format!(
            "{}:{id} ({}{}): {}",
            device.runtime,
            visible(name),
            visible(&uid),
            pools.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::snapshot::Usage;

    #[test]
    fn the_processes_that_matter_are_named() {
        let of = |pid: u32, held: Option<u64>| Process {
            pid,
            comm: "it".to_owned(),
            state: "running".to_owned(),
            usage: held.map(|held| {
                vec![Usage {
                    charged_bytes: Some(held),
                    ..Usage::default()
                }]
            }),
            ..Process::default()
        };
        let mut snapshot = Snapshot::default();
        let idle = (1..=20).map(|pid| of(pid, Some(0)));
        let others = [of(21, Some(5)), of(22, Some(7)), of(23, None)];
        snapshot.processes.extend(idle.chain(others));
        snapshot.processes.push(Process {
            state: "exited".to_owned(),
            ..of(24, None)
        });
        let finding = processes(&snapshot).finding;
        let start = "23 map a known runtime: it 23 (usage unknown), it 22, it 21, it ";
        assert!(finding.starts_with(start), "{finding}");
        assert!(finding.ends_with(", 15 more"), "{finding}");
    }
}
