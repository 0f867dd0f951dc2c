//! A Prometheus of one's own: it scrapes memmon-ebpf, and says what it has understood.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// As often as it scrapes.
const INTERVAL: &str = "250ms";
const PATIENCE: Duration = Duration::from_secs(15);

/// A program of the package, from where `cargo xtask test` found it, else from `PATH`.
pub fn program(name: &str) -> PathBuf {
    match std::env::var_os("MEMMON_PROMETHEUS") {
        Some(folder) => Path::new(&folder).join(name),
        None => name.into(),
    }
}

/// Runs `promtool` to its end, with this on its standard input.
pub fn promtool(args: &[&str], input: &str) -> Result<Output> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), input)?;
    Command::new(program("promtool"))
        .args(args)
        .stdin(fs::File::open(file.path())?)
        .output()
        .context("cannot run promtool: `cargo xtask test` finds or unpacks it (MEMMON_PROMETHEUS)")
}

/// What `promtool` says when it finds nothing to complain about: nothing, or its own success.
pub fn promtool_is_content(args: &[&str], input: &str) -> Result<()> {
    let output = promtool(args, input)?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "promtool {args:?}: {said}");
    let complains = |line: &str| {
        !line.is_empty()
            && !["SUCCESS", "Checking", "Unit Testing"]
                .iter()
                .any(|word| line.contains(word))
    };
    let complaints: Vec<&str> = said.lines().filter(|line| complains(line.trim())).collect();
    ensure!(complaints.is_empty(), "promtool {args:?}: {complaints:?}");
    Ok(())
}

/// A port that nobody has at this moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A sample of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    /// Empty where it has no such label.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    port: u16,
    // It goes last: the process writes there.
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes this port of this machine, by the name of job and instance that the examples have.
    pub fn scraping(port: u16, rules: &[&Path]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("prometheus.yml");
        let rules: Vec<String> = rules.iter().map(|file| format!("{file:?}")).collect();
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: {INTERVAL}, scrape_timeout: {INTERVAL}, evaluation_interval: {INTERVAL}}}\n\
                 rule_files: [{}]\n\
                 scrape_configs:\n- job_name: memmon\n  static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]\n",
                rules.join(", ")
            ),
        )?;
        let port = free_port()?;
        let log = fs::File::create(directory.path().join("log"))?;
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context(
                "cannot run prometheus: `cargo xtask test` finds or unpacks it (MEMMON_PROMETHEUS)",
            )?;
        let mut prometheus = Self {
            child,
            port,
            _directory: directory,
        };
        prometheus.get_ready()?;
        Ok(prometheus)
    }

    fn get_ready(&mut self) -> Result<()> {
        let log = self._directory.path().join("log");
        let until = Instant::now() + PATIENCE;
        while ureq::get(self.url("/-/ready")).call().is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > until {
                bail!("prometheus: {}", fs::read_to_string(log)?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `data` of an answer of its API.
    pub fn api(&self, path: &str, arguments: &[(&str, &str)]) -> Result<Value> {
        let mut request = ureq::get(self.url(path))
            .config()
            .http_status_as_error(false)
            .build();
        for (name, value) in arguments {
            request = request.query(name, value);
        }
        let text = request.call()?.body_mut().read_to_string()?;
        let mut answer: Value = serde_json::from_str(&text)?;
        ensure!(
            answer["status"] == "success",
            "{path} {arguments:?}: {text}"
        );
        Ok(answer["data"].take())
    }

    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let data = self.api("/api/v1/query", &[("query", expression)])?;
        let rows = data["result"].as_array().context("no vector")?;
        rows.iter()
            .map(|row| {
                Ok(Sample {
                    labels: serde_json::from_value(row["metric"].clone())?,
                    value: row["value"][1].as_str().context("no value")?.parse()?,
                })
            })
            .collect()
    }

    /// The value of an expression that has one; none where it has no samples.
    pub fn value(&self, expression: &str) -> Result<Option<f64>> {
        let samples = self.query(expression)?;
        ensure!(samples.len() <= 1, "{expression}: {samples:?}");
        Ok(samples.first().map(|sample| sample.value))
    }

    /// Waits until it has scraped this number: what it was asked about happened before.
    pub fn becomes(&self, expression: &str, wanted: u64) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let value = self.value(expression)?;
            // Bytes are whole numbers, far below 2^53.
            if value == Some(wanted as f64) {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "{expression} is {value:?}, not {wanted}; targets: {}",
                self.api("/api/v1/targets", &[])?
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the expression has samples.
    pub fn samples(&self, expression: &str) -> Result<Vec<Sample>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let samples = self.query(expression)?;
            if !samples.is_empty() {
                return Ok(samples);
            }
            ensure!(Instant::now() < until, "{expression} has no samples");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// It is scraped, and there was nothing to complain about.
    pub fn is_content(&self) -> Result<()> {
        self.becomes("min_over_time(up{job=\"memmon\"}[1m])", 1)?;
        let data = self.api("/api/v1/targets", &[])?;
        let targets = data["activeTargets"].as_array().context("no targets")?;
        ensure!(targets.len() == 1, "{data}");
        ensure!(targets[0]["lastError"] == "", "{data}");
        ensure!(targets[0]["health"] == "up", "{data}");
        Ok(())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
