//! What may stand on the command line.

use std::{path::PathBuf, sync::LazyLock, time::Duration};

use clap::{
    Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser as _},
};

use log::LevelFilter;

use super::{access::AccessArgs, exit::Failure};
use crate::{
    observe::{Options, Runtimes},
    recording::Moment,
    server::http,
    tables::Filter,
    views::{export::Export, snapshot::Format, tracy, tui},
};

/// What `--log` takes; each level has those before it.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Where a daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/memmon-ebpf.sock";

/// What `--version` says, and `-V` does not.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let tracy = if tracy::is_built_in() {
        format!(
            "protocol {} (profilers of Tracy {})",
            tracy::protocol_version(),
            tracy::releases()
        )
    } else {
        "not built in".to_owned()
    };
    format!("{}\nTracy: {tracy}", env!("CARGO_PKG_VERSION"))
});

/// Who is holding the device memory?
///
/// Watches the allocators of accelerator runtimes in every process through eBPF uprobes and shows,
/// live, which process holds how much of which device, in which pool. Nothing has to be changed,
/// restarted or configured in what is observed.
#[derive(Debug, Parser)]
#[command(name = "memmon-ebpf", version, long_version = LONG_VERSION.as_str())]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Exit codes: 0 done; 1 could not do its work; 2 the command line makes no sense; \
    3 not permitted; 4 nothing to observe; run: the command's own, 128+signal, 126 or 127"
)]
pub struct Args {
    #[command(flatten)]
    pub watch: Watch,
    /// How much memmon says about itself, on standard error
    #[arg(long, global = true, value_name = "LEVEL", env = "MEMMON_LOG", hide_env = true, default_value = "warn",
        value_parser = PossibleValuesParser::new(LEVELS).map(|name| level(&name)))]
    pub log: LevelFilter,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Without a command: look, once or all the time.
#[derive(Clone, Debug, clap::Args)]
pub struct Watch {
    /// One snapshot, then exit
    #[arg(short, long, visible_short_alias = 's', visible_aliases = ["single", "once"])]
    pub query: bool,
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    #[command(flatten)]
    pub observing: Observing,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub tracy: TracyArgs,
    #[command(flatten)]
    pub screen: Screen,
    /// Place no probe: read what the processes hold from their memory at every refresh
    ///
    /// Totals are exact at that moment, and nothing is added to what the processes do; what happens
    /// in between is not seen, so nothing is counted. No daemon is asked.
    #[arg(long, conflicts_with_all = ["socket", "tracy", "tracy_listen", "audit"])]
    pub sample: bool,
    /// Where the daemon listens [default: /run/memmon-ebpf.sock]
    ///
    /// Where it is given, nothing else is asked.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Seconds to wait for a process to map a known runtime, or for the daemon
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds)]
    pub wait: f64,
}

/// What is observed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Scope {
    /// Every process and every device (the default)
    #[arg(short, long, conflicts_with_all = ["pids"])]
    pub all: bool,
    /// Only these processes; threads count as their process
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,
    /// Only these devices, by the runtime's own ids
    #[arg(
        short,
        long = "device",
        visible_alias = "devices",
        value_name = "ID",
        value_delimiter = ','
    )]
    pub devices: Vec<u32>,
}

/// Which runtimes are looked for.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RuntimeArgs {
    /// Only this runtime (see `profiles`)
    #[arg(long = "runtime", value_name = "NAME", value_delimiter = ',')]
    pub names: Vec<String>,
    /// One more runtime profile, or one that replaces a built-in of the same name
    #[arg(long = "profile", value_name = "FILE")]
    pub profiles: Vec<PathBuf>,
}

/// How it is observed.
#[derive(Clone, Debug, clap::Args)]
pub struct Observing {
    /// Milliseconds between two looks, 100 at the least
    #[arg(short, long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..))]
    pub refresh: u64,
    /// Bytes of the ring buffer that carries the history; a power of two
    #[arg(long, value_name = "BYTES", value_parser = power_of_two, hide_short_help = true)]
    pub history_bytes: Option<u32>,
    /// Live allocations that can be remembered
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(16..), hide_short_help = true)]
    pub live_entries: Option<u32>,
    /// A BPF map of another size than usual
    #[arg(long, value_name = "MAP=COUNT", value_parser = map_size, hide = true)]
    pub map_entries: Vec<(String, u32)>,
    /// Compare the rows with the allocators' own numbers every so many seconds; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    pub audit: f64,
    /// Behave as on this kernel release
    #[arg(long, value_name = "RELEASE", hide = true)]
    pub assume_kernel: Option<String>,
}

/// Where what is seen goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Output {
    /// How a snapshot, or a stream of them, is written
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)).map(|name| format(&name)))]
    pub format: Option<Format>,
    /// Write there instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// A connected Tracy profiler.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TracyArgs {
    /// Show a Tracy profiler that connects every allocation
    #[arg(long)]
    pub tracy: bool,
    /// Where Tracy profilers may connect; implies --tracy [default: 127.0.0.1:8086]
    #[arg(long, value_name = "ADDR:PORT")]
    pub tracy_listen: Option<std::net::SocketAddr>,
}

impl TracyArgs {
    /// None where it is not asked for.
    pub fn listen(&self) -> Option<std::net::SocketAddr> {
        let default = self.tracy.then_some(tracy::LISTEN);
        self.tracy_listen.or(default)
    }
}

/// How the full-screen view looks.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Screen {
    /// Colours for a dark or a light background, or none
    #[arg(long, value_enum, default_value_t, value_name = "THEME")]
    pub theme: Theme,
    /// Draw with plain ASCII signs, as where the locale is not UTF-8
    #[arg(long)]
    pub ascii: bool,
    /// Leave the mouse to the terminal
    #[arg(long)]
    pub no_mouse: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Theme {
    /// As COLORFGBG and NO_COLOR say; dark where they say nothing
    #[default]
    Auto,
    Dark,
    Light,
    None,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a command and observe it from its first instruction on
    Run(Run),
    /// Keep the history in a file
    Record(Record),
    /// Watch a recording, or export it; no root needed
    Replay(Replay),
    /// The daemon: observe, and answer clients
    Serve(Serve),
    /// Compare the rows with the allocators' own numbers
    ///
    /// Asks the daemon where one listens, else observes for a moment. A row that differs is
    /// corrected, and marked. Exits with 1 when a row differed.
    Audit(Audit),
    /// What this machine allows, what was found, and what to do about the rest
    Doctor(Doctor),
    /// The runtimes known, and whether a profile of one's own is sound
    Profiles(Profiles),
    /// Completions for a shell, on standard output
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// The manual page, on standard output
    Man {
        /// Write a page for each command into this folder instead
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Speak to one Tracy profiler (memmon starts this by itself)
    #[command(hide = true)]
    TracyClient,
}

#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    #[command(flatten)]
    pub observing: Observing,
    /// The snapshot at the end goes to its file; a summary goes to standard error
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub tracy: TracyArgs,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Debug, clap::Args)]
pub struct Record {
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    #[command(flatten)]
    pub observing: Observing,
    /// The recording; `-` is standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub file: PathBuf,
    /// Replace the file where it is there already
    #[arg(long)]
    pub force: bool,
    /// Keep the latest, in two files of half this size: FILE, and FILE.1 with what came before it
    ///
    /// K, M and G stand for 2^10, 2^20 and 2^30. Written to a pipe, it ends there.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_size: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<f64>,
    /// Start this command, record it and its descendants, and end with it
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Debug, clap::Args)]
pub struct Replay {
    /// A recording; `-` is standard input
    pub file: PathBuf,
    #[command(flatten)]
    pub scope: Scope,
    /// Only this runtime
    #[arg(long = "runtime", value_name = "NAME", value_delimiter = ',')]
    pub runtimes: Vec<String>,
    /// The moment: RFC 3339, `+90s` from the start, `-10s` from the end, `50%`, `start` or `end`
    ///
    /// A snapshot is of this moment, the end unless told otherwise; the full-screen view begins
    /// with it, the start unless told otherwise.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,
    /// A snapshot of that moment (table, json, csv, openmetrics), or all events (events-csv,
    /// perfetto)
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(ReplayFormat::names()).map(|name| ReplayFormat::of(&name)))]
    pub format: Option<ReplayFormat>,
    #[command(flatten)]
    pub screen: Screen,
    /// Write there instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Serve {
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    #[command(flatten)]
    pub observing: Observing,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub tracy: TracyArgs,
    #[command(flatten)]
    pub metrics: Metrics,
    /// Place no probe: read what the processes hold from their memory at every question
    ///
    /// Totals are exact at that moment, and nothing is added to what the processes do; what happens
    /// in between is not seen, so nothing is counted, and there is nothing to follow.
    #[arg(long, conflicts_with_all = ["tracy", "tracy_listen", "audit"])]
    pub sample: bool,
}

/// What scrapers are given.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Metrics {
    /// Answer scrapers there, at /metrics; a port alone is 127.0.0.1's
    #[arg(long = "metrics", value_name = "ADDR:PORT")]
    pub address: Option<http::Address>,
    /// Processes that have metrics of their own, those that hold most; the rest is summed as "other"
    #[arg(
        long = "metrics-processes",
        value_name = "COUNT",
        default_value_t = 200,
        requires = "address"
    )]
    pub processes: usize,
}

#[derive(Debug, clap::Args)]
pub struct Audit {
    /// Only these processes
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    /// How the report is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: AuditFormat,
    /// Where the daemon listens [default: /run/memmon-ebpf.sock]
    ///
    /// Where it is given, nothing else is asked.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum AuditFormat {
    #[default]
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct Doctor {
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    /// How the report is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: ReportFormat,
    /// Where a daemon would listen
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Behave as on this kernel release
    #[arg(long, value_name = "RELEASE", hide = true)]
    pub assume_kernel: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum ReportFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct Profiles {
    /// One more profile to list or to check beside, or one that replaces a built-in of the same name
    #[arg(long = "profile", value_name = "FILE")]
    pub profiles: Vec<PathBuf>,
    /// How the list is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(subcommand)]
    pub action: Option<ProfilesAction>,
}

#[derive(Debug, Subcommand)]
pub enum ProfilesAction {
    /// Say whether a profile is sound, naming line and field of what is not
    Check {
        file: PathBuf,
        /// Print the programs that its probes become
        #[arg(long)]
        explain: bool,
    },
}

impl Watch {
    pub fn filter(&self) -> Filter {
        self.scope.filter(&self.runtimes)
    }

    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(self.wait)
    }
}

impl Screen {
    pub fn options(&self, refresh: Duration, scope: String) -> tui::Options {
        let found = tui::Options::from_environment(refresh, scope);
        tui::Options {
            palette: match self.theme {
                Theme::Auto => found.palette,
                Theme::Dark => tui::Palette::Dark,
                Theme::Light => tui::Palette::Light,
                Theme::None => tui::Palette::None,
            },
            ascii: self.ascii || found.ascii,
            mouse: !self.no_mouse,
            ..found
        }
    }
}

impl Scope {
    pub fn filter(&self, runtimes: &RuntimeArgs) -> Filter {
        Filter {
            pids: self.pids.clone(),
            devices: self.devices.iter().map(|id| i64::from(*id)).collect(),
            runtimes: runtimes.names.clone(),
        }
    }
}

impl Observing {
    pub fn options(&self, filter: Filter) -> Options {
        Options {
            filter,
            command: None,
            history_bytes: self.history_bytes,
            live_entries: self.live_entries,
            map_entries: self.map_entries.clone(),
            audit: (self.audit > 0.0).then(|| Duration::from_secs_f64(self.audit)),
            sample: false,
            assume_kernel: self.assume_kernel.clone(),
        }
    }

    pub fn refresh(&self) -> Duration {
        Duration::from_millis(self.refresh)
    }
}

impl RuntimeArgs {
    pub fn load(&self) -> Result<Runtimes, Failure> {
        Runtimes::load(&self.profiles, &self.names).map_err(Failure::new)
    }
}

fn format(name: &str) -> Format {
    name.parse().unwrap_or_default()
}

/// How a recording is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFormat {
    Snapshot(Format),
    Export(Export),
}

impl ReplayFormat {
    fn names() -> Vec<&'static str> {
        let snapshots = Format::ALL.into_iter().map(Format::name);
        snapshots
            .chain(Export::ALL.into_iter().map(Export::name))
            .collect()
    }

    fn of(name: &str) -> Self {
        let export = Export::ALL.into_iter().find(|known| known.name() == name);
        export.map_or_else(|| Self::Snapshot(format(name)), Self::Export)
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|last: char| !last.is_ascii_digit());
    let scale = match text.get(digits.len()..).unwrap_or_default() {
        "" => Some(1),
        "K" | "k" | "KiB" => Some(1 << 10),
        "M" | "MiB" => Some(1 << 20),
        "G" | "GiB" => Some(1 << 30),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().zip(scale);
    number
        .and_then(|(number, scale)| number.checked_mul(scale))
        .filter(|bytes| *bytes >= 1 << 20)
        .ok_or_else(|| {
            "a number of bytes is needed, such as 500M or 2G, 1M at the least".to_owned()
        })
}

fn level(name: &str) -> LevelFilter {
    name.parse().unwrap_or(LevelFilter::Warn)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1e6).contains(&number) => Ok(number),
        _ => Err("a number of seconds from 0 to 1000000 is needed".to_owned()),
    }
}

fn power_of_two(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(number) if number.is_power_of_two() && (4096..=1 << 30).contains(&number) => Ok(number),
        _ => Err("a power of two from 4096 to 1073741824 is needed".to_owned()),
    }
}

fn map_size(text: &str) -> Result<(String, u32), String> {
    text.split_once('=')
        .and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
        .filter(|(_, count)| *count > 0)
        .ok_or_else(|| "MAP=COUNT is needed".to_owned())
}
