use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use super::*;
use crate::{
    tables::snapshot::Process,
    views::{golden, sample},
};

fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let before = samples.insert(series.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "twice: {line}");
    }
    samples
}

/// Processes 1, 2, …: what each holds and how often it allocated, on one pool of one device.
fn troupe(members: &[(u64, u64)]) -> Snapshot {
    let mut snapshot = sample::empty();
    snapshot.processes = (1..)
        .zip(members)
        .map(|(pid, (charged, allocations))| {
            let mut row = sample::usage(0, "DRAM", *charged, *charged, 1);
            row.allocations = Some(*allocations);
            sample::process(pid, "python", &[], "ada", vec![row])
        })
        .collect();
    snapshot
}

/// Allocations by pid; those of the rest are 0's.
fn allocations(crowd: &mut Crowd, snapshot: &Snapshot) -> BTreeMap<u32, f64> {
    let text = render(snapshot, crowd, None, Dialect::OpenMetrics);
    samples(&text)
        .into_iter()
        .filter(|(series, _)| series.starts_with("memmon_allocations_total{"))
        .map(|(series, value)| {
            let pid = series.split("pid=\"").nth(1).unwrap();
            let pid = pid.split('"').next().unwrap();
            (pid.parse().unwrap_or(0), value)
        })
        .collect()
}

#[test]
fn no_label_set_stands_twice_even_when_a_pid_comes_back() {
    let mut snapshot = sample::troubled();
    let twin = |state: &str| Process {
        state: state.into(),
        ..sample::busy().processes.remove(0)
    };
    snapshot.processes.extend([twin("exited"), twin("exited")]);
    snapshot.processes.push(sample::hostile());
    let text = render_whole(&snapshot);
    assert!(samples(&text).len() > 40);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn unknown_is_absent_and_what_ended_holds_nothing() {
    let text = render_whole(&sample::busy());
    let has = |family: &str, label: &str| {
        text.lines()
            .any(|line| line.starts_with(family) && line.contains(label))
    };
    assert!(!has("memmon_charged_bytes{", "pool=\"CB\""));
    assert!(!has("memmon_charged_bytes{", "pid=\"3999\""));
    assert!(has("memmon_allocations_total{", "pid=\"3999\""));
    assert!(text.contains("\nmemmon_unknown_processes 1\n"));
    // A look counts nothing.
    let mut look = troupe(&[(10, 1), (20, 2)]);
    for row in look
        .processes
        .iter_mut()
        .flat_map(|p| &mut p.usage)
        .flatten()
    {
        row.allocations = None;
    }
    let text = render(&look, &mut Crowd::new(Some(1)), None, Dialect::OpenMetrics);
    let counts = |line: &str| !line.starts_with('#') && line.contains("_allocations_total{");
    let counts: Vec<&str> = text.lines().filter(|line| counts(line)).collect();
    assert!(
        counts.iter().all(|line| line.contains("_failed_")),
        "{counts:?}"
    );
}

#[test]
fn the_largest_stand_for_themselves() {
    let mut crowd = Crowd::new(Some(2));
    let snapshot = troupe(&[(10, 1), (30, 2), (20, 4), (5, 8)]);
    let text = render(&snapshot, &mut crowd, None, Dialect::OpenMetrics);
    let held: HashSet<(String, u64)> = samples(&text)
        .into_iter()
        .filter(|(series, _)| series.starts_with("memmon_charged_bytes{"))
        .map(|(series, value)| {
            let (_, who) = series.split_once("pid=").unwrap();
            (who.to_owned(), value as u64)
        })
        .collect();
    let expected = [
        ("\"2\",comm=\"python\",user=\"ada\"}", 30),
        ("\"3\",comm=\"python\",user=\"ada\"}", 20),
        ("\"\",comm=\"other\"}", 15),
    ];
    assert_eq!(
        held,
        expected.map(|(who, held)| (who.to_owned(), held)).into()
    );
    assert!(text.contains("\nmemmon_other_processes 2\n"));
    // Peaks do not add up.
    let peak = |line: &str| line.starts_with("memmon_peak") && line.contains("other");
    assert!(!text.lines().any(peak));
}

#[test]
fn every_count_is_in_one_row_whatever_moves() {
    let mut crowd = Crowd::new(Some(1));
    let mut seen: BTreeMap<u32, f64> = BTreeMap::new();
    let mut steps = vec![
        troupe(&[(30, 100), (20, 10)]),
        // Both go on.
        troupe(&[(30, 110), (20, 15)]),
        // The second becomes the larger one, and then no more.
        troupe(&[(30, 120), (40, 18)]),
        troupe(&[(30, 125), (40, 20)]),
        troupe(&[(50, 130), (40, 29)]),
    ];
    // The first has ended, and is then forgotten.
    let mut ended = troupe(&[(50, 131), (40, 30)]);
    ended.processes[0].state = "exited".into();
    steps.push(ended.clone());
    ended.processes.remove(0);
    let happened: Vec<f64> = [110, 125, 138, 145, 159, 161]
        .into_iter()
        .map(f64::from)
        .collect();
    for (snapshot, happened) in steps.iter().zip(happened) {
        let rows = allocations(&mut crowd, snapshot);
        for (pid, value) in rows {
            let before = seen.insert(pid, value).unwrap_or(0.0);
            assert!(value >= before, "{pid} fell from {before} to {value}");
        }
        // Rows that are absent now stand where they stood.
        assert_eq!(seen.values().sum::<f64>(), happened);
    }
    let rest = allocations(&mut crowd, &ended);
    assert_eq!(rest.get(&0), seen.get(&0), "what left is still counted");
    assert_eq!(rest.get(&1), None);
    let text = render(&ended, &mut crowd, None, Dialect::OpenMetrics);
    let devices = |line: &str| line.starts_with("memmon_device_allocations_total{");
    let devices: Vec<&str> = text.lines().filter(|line| devices(line)).collect();
    assert!(
        devices.len() == 1 && devices[0].ends_with(" 161"),
        "{devices:?}"
    );
}

#[test]
fn a_device_that_nobody_uses_is_forgotten_in_time() {
    let mut crowd = Crowd::new(Some(0));
    let used = troupe(&[(1, 50)]);
    let mut unused = used.clone();
    unused.processes.clear();
    let start = Instant::now();
    for (seconds, snapshot, rows) in [
        (0, &used, 1),
        (200, &unused, 1),
        (290, &used, 1),
        (580, &unused, 1),
        (600, &unused, 0),
        (610, &used, 1),
    ] {
        let standing = crowd.stand_at(snapshot, start + Duration::from_secs(seconds));
        let all = (standing.devices.len(), standing.rows.len());
        assert_eq!(all, (rows, rows), "after {seconds} s");
    }
}

#[test]
fn a_process_that_began_anew_is_counted_anew() {
    let mut crowd = Crowd::new(Some(0));
    assert_eq!(allocations(&mut crowd, &troupe(&[(1, 50)]))[&0], 50.0);
    // It executed another program under its pid.
    assert_eq!(allocations(&mut crowd, &troupe(&[(1, 3)]))[&0], 53.0);
}

#[test]
fn command_lines_stay_inside() {
    let text = render_whole(&sample::busy());
    for secret in ["llama-70b", "serve.py", "session-2.scope"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn committed_output_of_a_scrape() {
    let own = Own {
        cpu_seconds: 1.25,
        resident_bytes: Some(20 << 20),
        started: Some(1_769_857_200.0),
        scrapes: 3,
        scrape_seconds: 0.0625,
    };
    let text = render(
        &sample::troubled(),
        &mut Crowd::new(Some(1)),
        Some(&own),
        Dialect::Prometheus,
    );
    golden::check("metrics/golden", "troubled.prometheus", &text);
}
