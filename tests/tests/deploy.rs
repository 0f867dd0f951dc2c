//! What `deploy/` has for Prometheus and Grafana works on what memmon-ebpf really says.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    check::acquainted,
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::Daemon,
    prometheus::{Prometheus, free_port, promtool_is_content},
};
use serde_json::Value;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file)
}

/// A daemon, a program that holds memory in several pools and was refused more, and a Prometheus
/// that saw both.
fn scene(rules: &[&Path]) -> Result<(Driver, Daemon, Prometheus)> {
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    let port = free_port()?;
    let daemon = Daemon::start(&[
        "-p",
        &driver.pid().to_string(),
        "--metrics",
        &port.to_string(),
    ])?;
    acquainted(&daemon, driver.pid())?;
    let prometheus = Prometheus::scraping(port, rules)?;
    driver.ask("open chips 2 l1_small 16384 trace 1048576")?;
    driver.ask("alloc a DRAM 2097152 2048")?;
    driver.ask("alloc b L1 32768 4096 shards 8")?;
    driver.ask("alloc c L1_SMALL 4096 64")?;
    driver.ask("alloc d TRACE 65536 4096")?;
    prometheus.becomes("count(memmon_charged_bytes{pool=\"TRACE\"})", 2)?;
    driver.ask("oom")?;
    driver.ask("burst 100")?;
    prometheus.becomes("max(memmon_failed_allocations_total)", 1)?;
    Ok((driver, daemon, prometheus))
}

#[test]
fn promtool_finds_nothing_to_complain_about() -> Result<()> {
    for (words, file) in [
        (["check", "config"], "prometheus/memmon.yml"),
        (["check", "rules"], "prometheus/memmon.rules.yml"),
        (["test", "rules"], "prometheus/memmon.rules.test.yml"),
    ] {
        let path = deploy(file);
        let path = path.to_str().context("a plain path")?;
        promtool_is_content(&[words[0], words[1], path], "")?;
    }
    Ok(())
}

/// `promtool test rules` says that they fire when they should; this, that they read what is there.
#[test]
fn rules_read_what_is_there() -> Result<()> {
    let rules = deploy("prometheus/memmon.rules.yml").canonicalize()?;
    let (driver, _daemon, prometheus) = scene(&[&rules])?;
    let alerts = prometheus.samples("ALERTS{alertname=\"DeviceAllocationsFail\"}")?;
    for alert in &alerts {
        assert_eq!(alert.label("pid"), driver.pid().to_string());
        assert_eq!(alert.label("pool"), "DRAM");
    }
    assert_eq!(alerts.len(), 2, "one a chip: {alerts:?}");
    let data = prometheus.api("/api/v1/rules", &[])?;
    let groups = data["groups"].as_array().context("no groups")?;
    let loaded = groups.iter().filter_map(|group| group["rules"].as_array());
    let mut names = BTreeSet::new();
    for rule in loaded.flatten() {
        assert_eq!(rule["health"], "ok", "{rule}");
        names.insert(rule["name"].as_str().unwrap_or_default());
        // What they compare is there, whatever comes of it.
        let expression = rule["query"].as_str().context("no query")?;
        for name in metrics_in(expression) {
            let samples = prometheus.query(name)?;
            ensure!(!samples.is_empty(), "there is no {name}: {expression}");
        }
    }
    assert_eq!(names.len(), 6, "{names:?}");
    Ok(())
}

/// Names of our own metrics in an expression.
fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("memmon_") || word.starts_with("process_"))
}

#[test]
fn every_query_of_the_dashboard_has_an_answer() -> Result<()> {
    let text = fs::read_to_string(deploy("grafana/memmon.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let (_driver, _daemon, prometheus) = scene(&[])?;
    let mut seen = 0;
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("a query is a text")?;
            let expression = substituted(expression);
            ensure!(
                !expression.contains('$'),
                "a variable that is not known: {expression}"
            );
            prometheus
                .samples(&expression)
                .with_context(|| panel["title"].to_string())?;
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
            seen += 1;
        }
    }
    ensure!(seen > 20, "only {seen} queries");
    // So have the lists that one chooses from.
    for variable in dashboard["templating"]["list"].as_array().context("none")? {
        let Some(query) = variable["query"]["query"].as_str() else {
            continue;
        };
        let inside = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'))
            .context("no label_values")?;
        let (series, label) = inside.rsplit_once(", ").context("no label")?;
        let samples = prometheus.samples(&substituted(series))?;
        ensure!(
            samples.iter().all(|s| !s.label(label).is_empty()),
            "{query}: {samples:?}"
        );
    }
    Ok(())
}

/// As Grafana does it where everything is chosen.
fn substituted(expression: &str) -> String {
    let mut text = expression.to_owned();
    for (variable, value) in [
        ("$__rate_interval", "10s"),
        ("$__range", "1m"),
        ("$instance", ".*"),
        ("$device", ".*"),
        ("$pool", "DRAM"),
        ("$job", ".*"),
    ] {
        text = text.replace(variable, value);
    }
    text
}
