//! `serve --metrics`: a real Prometheus scrapes the daemon, and must then know what the workload
//! knows.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::{POOLS, acquainted},
    fixture::{Driver, Fault, Fixture, Layout, number},
    lab::{self, Workload},
    memmon::{Daemon, run},
    prometheus::{Prometheus, free_port, promtool_is_content},
};
use serde_json::Value;

/// A daemon with metrics that observes these programs alone: others may run on this machine.
fn serve(drivers: &[&Driver], more: &[&str]) -> Result<(Daemon, u16)> {
    let port = free_port()?;
    let pids: Vec<String> = drivers.iter().map(|d| d.pid().to_string()).collect();
    let (pids, address) = (pids.join(","), port.to_string());
    let args = [&["-p", &pids, "--metrics", &address], more].concat();
    let daemon = Daemon::start(&args)?;
    for driver in drivers {
        acquainted(&daemon, driver.pid())?;
    }
    Ok((daemon, port))
}

fn driver() -> Result<Driver> {
    Fixture::get(Layout::Pimpl, Fault::None)?.spawn()
}

fn metrics(port: u16) -> String {
    format!("http://127.0.0.1:{port}/metrics")
}

/// Bytes and allocations of every pool, and what happened, are the driver's own.
fn knows(prometheus: &Prometheus, answer: &Value) -> Result<()> {
    let pid = &answer["pid"];
    let one =
        |family: &str, rest: &str| format!("sum({family}{{pid=\"{pid}\",{rest}}}) or vector(0)");
    for chip in [0, 1] {
        for pool in POOLS {
            for (family, what) in [
                ("memmon_charged_bytes", "truth"),
                ("memmon_requested_bytes", "requested"),
                ("memmon_live_allocations", "live"),
            ] {
                let expression = one(family, &format!("device=\"{chip}\",pool=\"{pool}\""));
                prometheus.becomes(&expression, number(answer, what, chip, pool))?;
            }
        }
        let told = |what: &str| answer[what].as_u64().unwrap_or_default();
        for (family, count) in [
            ("memmon_allocations_total", told("allocations")),
            ("memmon_frees_total", told("frees") + told("bulk_frees")),
            ("memmon_failed_allocations_total", told("failed")),
        ] {
            let expression = one(family, &format!("device=\"{chip}\",pool!=\"CB\""));
            prometheus.becomes(&expression, count)?;
        }
    }
    Ok(())
}

#[test]
fn prometheus_knows_what_the_workload_knows() -> Result<()> {
    let (mut one, mut other) = (driver()?, driver()?);
    let (_daemon, port) = serve(&[&one, &other], &[])?;
    let prometheus = Prometheus::scraping(port, &[])?;
    let beside = other.ask("open chips 1")?;
    knows(&prometheus, &beside)?;
    let beside = other.ask("alloc x DRAM 65536 4096")?;
    for step in [
        "open chips 2 l1_small 16384 trace 1048576",
        "alloc a DRAM 2097152 2048",
        "alloc b L1 32768 4096 shards 8",
        "alloc c L1_SMALL 4096 64",
        "alloc d TRACE 65536 4096",
        "free a",
        "oom",
        "oom L1",
        "burst 1000 threads 2",
        "close",
        "reopen",
        "alloc e DRAM 1000 100",
    ] {
        let answer = one.ask(step)?;
        knows(&prometheus, &answer).with_context(|| format!("after `{step}`"))?;
    }
    // Devices are the sum of their processes.
    let answer = one.ask("alloc f DRAM 2097152 2048")?;
    let both = number(&answer, "truth", 0, "DRAM") + number(&beside, "truth", 0, "DRAM");
    let place = "{device=\"0\",pool=\"DRAM\"}";
    prometheus.becomes(&format!("sum(memmon_charged_bytes{place})"), both)?;
    prometheus.becomes(&format!("memmon_device_charged_bytes{place}"), both)?;
    let capacity = number(&answer, "capacity", 0, "DRAM");
    prometheus.becomes(&format!("memmon_capacity_bytes{place}"), capacity)?;
    // One of the two failures was in this pool, and it was seen happening.
    let failures = format!("memmon_device_failed_allocations_total{place}");
    prometheus.becomes(
        &format!("max_over_time({failures}[1m]) - min_over_time({failures}[1m])"),
        1,
    )?;
    let rate = prometheus.value(&format!("rate({failures}[1m])"))?;
    ensure!(rate.is_some_and(|rate| rate > 0.0), "{rate:?}");
    // Only OpenMetrics has units: this is what was negotiated.
    let about = prometheus.api(
        "/api/v1/metadata",
        &[("metric", "memmon_device_charged_bytes")],
    )?;
    assert_eq!(
        about["memmon_device_charged_bytes"][0]["unit"], "bytes",
        "{about}"
    );
    // What ended holds nothing; what it did is still told.
    let pid = one.pid();
    one.finish()?;
    let held = format!("count(memmon_charged_bytes{{pid=\"{pid}\"}}) or vector(0)");
    prometheus.becomes(&held, 0)?;
    let failed = format!("sum(memmon_failed_allocations_total{{pid=\"{pid}\",device=\"0\"}})");
    prometheus.becomes(&failed, 2)?;
    prometheus.is_content()
}

/// The real runtime's own allocator, step by step.
#[test]
fn prometheus_knows_what_ttnn_knows() -> Result<()> {
    let versions = lab::versions()?;
    let version = versions.last().context("MEMMON_VERSIONS names none")?;
    let port = free_port()?;
    let _daemon = Daemon::start(&["--metrics", &port.to_string()])?;
    let prometheus = Prometheus::scraping(port, &[])?;
    let mut workload = Workload::start(version, "workload.py", &["--skip-ops"])?;
    let mut numbers = 0;
    while let Some(step) = workload.step()? {
        for (chip, pools) in &step.truth {
            for (pool, truth) in pools {
                let labels = format!("pid=\"{}\",device=\"{chip}\",pool=\"{pool}\"", step.pid);
                let expression = format!("sum(memmon_charged_bytes{{{labels}}}) or vector(0)");
                prometheus
                    .becomes(&expression, *truth)
                    .with_context(|| format!("{version}, step {}", step.name))?;
                numbers += 1;
            }
        }
    }
    ensure!(numbers > 20, "only {numbers} numbers were compared");
    prometheus.is_content()
}

#[test]
fn the_largest_have_rows_and_no_counter_falls() -> Result<()> {
    const SHOWN: usize = 5;
    let mut crowd: Vec<Driver> = (0..30).map(|_| driver()).collect::<Result<_>>()?;
    let (_daemon, port) = serve(
        &crowd.iter().collect::<Vec<_>>(),
        &["--metrics-processes", &SHOWN.to_string()],
    )?;
    let prometheus = Prometheus::scraping(port, &[])?;
    let mut held = vec![0; crowd.len()];
    let mut allocations = 0;
    // Everyone is among the largest for a while.
    for round in 1..=4 {
        for (index, driver) in crowd.iter_mut().enumerate() {
            let size = ((index * 7 + round * 11) % 30 + 1) * 409_600;
            let answer = driver.ask(&format!("alloc r{round} DRAM {size} 4096"))?;
            held[index] = number(&answer, "truth", 0, "DRAM");
            allocations += 1;
        }
        let sum = held.iter().sum();
        prometheus.becomes("sum(memmon_charged_bytes{pool=\"DRAM\"})", sum)?;
        let mut largest: Vec<(u64, String)> = held
            .iter()
            .zip(&crowd)
            .map(|(held, driver)| (*held, driver.pid().to_string()))
            .collect();
        largest.sort_by_key(|(held, pid)| (std::cmp::Reverse(*held), pid.parse::<u32>().ok()));
        largest.truncate(SHOWN);
        largest.sort();
        let mut shown: Vec<(u64, String)> = prometheus
            .query("memmon_charged_bytes{pool=\"DRAM\",pid!=\"\"}")?
            .iter()
            .map(|sample| (sample.value as u64, sample.label("pid").to_owned()))
            .collect();
        shown.sort();
        assert_eq!(shown, largest, "round {round}");
        let devices = "sum(memmon_device_allocations_total{pool=\"DRAM\"})";
        prometheus.becomes(devices, allocations)?;
        let count = (crowd.len() - SHOWN) as u64;
        prometheus.becomes("memmon_other_processes", count)?;
    }
    for driver in crowd.drain(..20) {
        driver.finish()?;
    }
    let left = held.drain(20..).sum();
    prometheus.becomes("sum(memmon_charged_bytes{pool=\"DRAM\"})", left)?;
    for counter in ["allocations", "frees", "failed_allocations"] {
        for counter in [
            format!("memmon_{counter}_total"),
            format!("memmon_device_{counter}_total"),
        ] {
            prometheus.becomes(&format!("max(resets({counter}[2m]))"), 0)?;
        }
    }
    let rest = prometheus.samples("memmon_allocations_total{comm=\"other\",pool=\"DRAM\"}")?;
    ensure!(
        rest.len() == 1 && rest[0].label("pid").is_empty(),
        "{rest:?}"
    );
    prometheus.is_content()
}

#[test]
fn names_arrive_as_they_are_and_command_lines_do_not() -> Result<()> {
    let fixture = Fixture::get(Layout::Inline, Fault::None)?;
    let folder = tempfile::tempdir()?;
    let name = "a\"b\\c\nd{e}";
    std::fs::copy(fixture.driver(), folder.path().join(name))?;
    std::fs::copy(fixture.library(), folder.path().join("libtt_metal.so"))?;
    let mut command = Command::new(folder.path().join(name));
    command.arg0("--password=hunter2");
    let mut strange = Driver::spawn(command)?;
    let (daemon, port) = serve(&[&strange], &[])?;
    strange.ask("alloc a DRAM 2097152 2048")?;
    let prometheus = Prometheus::scraping(port, &[])?;
    let samples = prometheus.samples("memmon_charged_bytes{pool=\"DRAM\"}")?;
    assert_eq!(samples[0].label("comm"), name);
    prometheus.is_content()?;
    let text = ureq::get(metrics(port))
        .call()?
        .body_mut()
        .read_to_string()?;
    ensure!(text.contains("memmon_charged_bytes{"), "{text}");
    ensure!(!text.contains("hunter2"), "{text}");
    let known = format!("{:?}", daemon.snapshot()?.processes);
    ensure!(
        known.contains("hunter2"),
        "the daemon does not know it: {known}"
    );
    promtool_is_content(&["check", "metrics"], &text)
}

#[test]
fn each_client_gets_what_it_asks_for() -> Result<()> {
    let mut driver = driver()?;
    let (_daemon, port) = serve(&[&driver], &[])?;
    driver.ask("alloc a DRAM 2097152 2048")?;
    for (accept, kind, end) in [
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
        (
            "text/plain;version=0.0.4",
            "text/plain; version=0.0.4; charset=utf-8",
            false,
        ),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", false),
    ] {
        let mut answer = ureq::get(metrics(port)).header("accept", accept).call()?;
        let named = answer.headers().get("content-type").context("no type")?;
        assert_eq!(named.to_str()?, kind);
        let text = answer.body_mut().read_to_string()?;
        assert_eq!(text.ends_with("\n# EOF\n"), end, "{accept}");
        if !end {
            promtool_is_content(&["check", "metrics"], &text)?;
        }
    }
    // The status line and the body; nothing where the connection was cut before.
    let ask = |method: &str, path: &str, header: &str| -> Result<(String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nx: {header}\r\n\r\n");
        let mut answer = Vec::new();
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let line = head.lines().next().unwrap_or_default();
        Ok((line.to_owned(), body.to_owned()))
    };
    assert_eq!(
        ask("HEAD", "/metrics", "")?,
        ("HTTP/1.1 200 OK".to_owned(), String::new())
    );
    for (method, path, code) in [
        ("GET", "/", 200),
        ("GET", "/metrics?x=1", 200),
        ("GET", "/favicon.ico", 404),
        ("POST", "/metrics", 405),
    ] {
        let (line, body) = ask(method, path, "")?;
        ensure!(line.contains(&code.to_string()), "{method} {path}: {line}");
        ensure!(path != "/" || body.contains("/metrics"), "{body}");
    }
    // It says so where the client still listens, and cuts it off in any case.
    let (line, body) = ask("GET", "/metrics", &"x".repeat(1 << 20))?;
    ensure!(line.is_empty() || line.contains("431"), "{line}");
    assert_eq!(body, "");
    Ok(())
}

/// A daemon of one device has nothing to say of others.
#[test]
fn the_daemon_s_scope_is_the_scraper_s() -> Result<()> {
    let mut driver = driver()?;
    let (pid, port) = (driver.pid().to_string(), free_port()?);
    let _daemon = Daemon::start(&["-p", &pid, "-d", "1", "--metrics", &port.to_string()])?;
    driver.ask("open chips 2")?;
    driver.ask("alloc a DRAM 2097152 2048")?;
    let text = ureq::get(metrics(port))
        .call()?
        .body_mut()
        .read_to_string()?;
    let of = |device: &str| text.matches(&format!("device=\"{device}\"")).count();
    ensure!(of("1") > 5 && of("0") == 0, "{text}");
    Ok(())
}

/// Whoever is slow waits alone.
#[test]
fn silent_clients_delay_nobody() -> Result<()> {
    let mut driver = driver()?;
    let (_daemon, port) = serve(&[&driver], &[])?;
    let answer = driver.ask("alloc a DRAM 2097152 2048")?;
    let prometheus = Prometheus::scraping(port, &[])?;
    let begun = Instant::now();
    let mut clients = Vec::new();
    // More than there may be at a time: silent, in the middle of a word, and with no ear for the answer.
    for index in 0..150 {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        match index % 3 {
            0 => {}
            1 => stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: ")?,
            _ => stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")?,
        }
        clients.push(stream);
    }
    let asked = Instant::now();
    let text = ureq::get(metrics(port))
        .call()?
        .body_mut()
        .read_to_string()?;
    let took = asked.elapsed();
    ensure!(took < Duration::from_millis(500), "a scrape took {took:?}");
    let bytes = number(&answer, "truth", 0, "DRAM").to_string();
    ensure!(text.contains(&bytes), "{text}");
    // The latest of the silent ones is still waited for, but not for long.
    let silent = &mut clients[147];
    silent.set_read_timeout(Some(Duration::from_secs(15)))?;
    let mut rest = Vec::new();
    silent
        .read_to_end(&mut rest)
        .context("it was not sent away")?;
    ensure!(
        begun.elapsed() > Duration::from_secs(3),
        "sent away too soon"
    );
    // Prometheus, which gives up after a quarter of a second, never had to.
    prometheus.is_content()
}

#[test]
fn addresses() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("socket");
    let socket = socket.to_str().context("a plain path")?;
    let refused = |args: &[&str], code: i32, words: &[&str]| -> Result<()> {
        let output = run(&[&["serve", "--socket", socket], args].concat())?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code),
            "{}: {text}",
            output.status
        );
        for word in words {
            ensure!(text.contains(word), "no `{word}` in: {text}");
        }
        ensure!(
            !std::path::Path::new(socket).exists(),
            "it began all the same"
        );
        Ok(())
    };
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    refused(
        &["--metrics", &address],
        1,
        &[&address, "in use", "another port"],
    )?;
    refused(
        &["--metrics", "192.0.2.1:9464"],
        1,
        &["192.0.2.1:9464", "this machine"],
    )?;
    for nonsense in ["nonsense", ":9464", "127.0.0.1", "70000"] {
        refused(&["--metrics", nonsense], 2, &[nonsense, "127.0.0.1:9464"])?;
    }
    refused(&["--metrics-processes", "5"], 2, &["--metrics"])?;
    // A port alone is this machine's, and only by 127.0.0.1; more is there for those who ask.
    let driver = driver()?;
    let pid = driver.pid().to_string();
    for (address, elsewhere) in [("", false), ("0.0.0.0:", true)] {
        let port = free_port()?;
        let address = format!("{address}{port}");
        let _daemon = Daemon::start(&["-p", &pid, "--metrics", &address])?;
        ureq::get(metrics(port)).call()?;
        let reached = TcpStream::connect(("127.0.0.2", port)).is_ok();
        assert_eq!(reached, elsewhere, "{address}");
    }
    Ok(())
}
