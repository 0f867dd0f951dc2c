//! What may stand on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, builder::TypedValueParser as _};

use crate::{observe::Options, tables::Filter, views::snapshot::Format};

/// Where a daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/memmon-ebpf.sock";

/// Who is holding the device memory?
///
/// Watches the allocators of accelerator runtimes in every process through eBPF uprobes and shows,
/// live, which process holds how much of which device, in which pool. Nothing has to be changed,
/// restarted or configured in what is observed.
#[derive(Debug, Parser)]
#[command(name = "memmon-ebpf", version, args_conflicts_with_subcommands = false)]
#[command(
    after_help = "Exit codes: 0 done; 1 could not do its work; 2 the command line makes no sense; \
    3 not permitted; 4 nothing to observe; run: the command's own, 128+signal, 126 or 127"
)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub watch: Watch,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is observed, and from where.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Every process and every device (the default)
    #[arg(short, long, global = true)]
    pub all: bool,
    /// Only these processes; threads count as their process
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', global = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,
    /// Only these devices, by the runtime's own ids
    #[arg(short, long = "device", visible_alias = "devices", value_name = "ID", value_delimiter = ',', global = true, value_parser = clap::value_parser!(u32))]
    pub devices: Vec<u32>,
    /// Only this runtime (see `profiles`)
    #[arg(long = "runtime", value_name = "NAME", global = true)]
    pub runtimes: Vec<String>,
    /// Milliseconds between two looks, 100 at the least
    #[arg(short, long, value_name = "MS", default_value_t = 1000, global = true, value_parser = clap::value_parser!(u64).range(100..))]
    pub refresh: u64,
    /// Where the daemon listens
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// One more runtime profile, or one that replaces a built-in of the same name
    #[arg(long = "profile", value_name = "FILE", global = true)]
    pub profiles: Vec<PathBuf>,
    /// Seconds to wait for a process to map a known runtime, or for the daemon
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, global = true, value_parser = seconds)]
    pub wait: f64,
    /// Bytes of the ring buffer that carries the history; a power of two
    #[arg(long, value_name = "BYTES", global = true, value_parser = power_of_two, hide_short_help = true)]
    pub history_bytes: Option<u32>,
    /// Live allocations that can be remembered
    #[arg(long, value_name = "COUNT", global = true, value_parser = clap::value_parser!(u32).range(16..), hide_short_help = true)]
    pub live_entries: Option<u32>,
    /// Behave as on this kernel release
    #[arg(long, value_name = "RELEASE", global = true, hide = true)]
    pub assume_kernel: Option<String>,
}

/// What is done with what is seen.
#[derive(Clone, Debug, clap::Args)]
pub struct Watch {
    /// One snapshot, then exit
    #[arg(short, long, visible_short_alias = 's', visible_aliases = ["single", "once"])]
    pub query: bool,
    /// How a snapshot, or a stream of them, is written
    #[arg(long, value_name = "FORMAT", global = true, value_parser = clap::builder::PossibleValuesParser::new(["table", "json", "csv", "openmetrics"]).map(|name| format(&name)))]
    pub format: Option<Format>,
    /// Write there instead of standard output
    #[arg(short, long, value_name = "FILE", global = true)]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a command and observe it from its first instruction on
    Run(Run),
    /// The daemon: observe, and answer clients
    Serve,
    /// The runtimes known, and whether a profile of one's own is sound
    Profiles(Profiles),
}

#[derive(Debug, clap::Args)]
pub struct Run {
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
pub struct Profiles {
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

impl Common {
    pub fn filter(&self) -> Filter {
        Filter {
            pids: self.pids.clone(),
            devices: self.devices.iter().map(|id| i64::from(*id)).collect(),
            runtimes: self.runtimes.clone(),
        }
    }

    pub fn options(&self) -> Options {
        Options {
            filter: self.filter(),
            descendants_only: false,
            history_bytes: self.history_bytes,
            live_entries: self.live_entries,
            assume_kernel: self.assume_kernel.clone(),
        }
    }

    pub fn refresh(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.refresh)
    }

    pub fn wait(&self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(self.wait)
    }
}

fn format(name: &str) -> Format {
    name.parse().unwrap_or_default()
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
