//! Several runtimes at one time, in several processes and in one: every view shows each of them by itself, as the programs say.
//!
//! Their devices have the same ids, their pools the same names and their blocks the same sizes: what is added up, or called
//! by one name, across runtimes is found out.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::Duration,
};

use ::memmon::{
    tables::snapshot::{Snapshot, Usage},
    views::units::Bytes,
};
use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    check::acquainted,
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{self, Daemon, process},
    prometheus::{Prometheus, free_port},
    recorder::{Recorder, perfetto, replay},
    screen::Screen,
    tracy::Profiler,
    witness::Witness,
};
use serde_json::Value;

/// A pool of a device of a runtime.
type Place = (String, Option<i64>, String);
/// Bytes and allocations.
type Held = BTreeMap<Place, (u64, u64)>;

/// The order of the rows of the program that uses two runtimes.
const ROWS: [(&str, i64, &str); 7] = [
    ("cuda", 0, "DEVICE"),
    ("cuda", 0, "MANAGED"),
    ("cuda", 0, "HOST"),
    ("cuda", 1, "DEVICE"),
    ("hip", 0, "DEVICE"),
    ("hip", 0, "HOST"),
    ("hip", 1, "DEVICE"),
];
const TT_POOLS: [&str; 3] = ["DRAM", "L1", "TRACE"];

/// Daemons that share a library would see each other's attaching.
static ALONE: Mutex<()> = Mutex::new(());

fn library(dir: &Path, file: &str, source_file: &str, on: &[&str]) -> Result<()> {
    let (source, soname) = (source(source_file), format!("-Wl,-soname,{file}"));
    let arguments = [
        "-shared",
        "-fPIC",
        "-Wl,-rpath,$ORIGIN",
        &soname,
        "-o",
        file,
        &source,
        "-lpthread",
    ];
    cc(dir, &[&arguments, on].concat())
}

fn program(dir: &Path, file: &str, source_file: &str, on: &[&str]) -> Result<()> {
    let source = source(source_file);
    let arguments = ["-o", file, &source, "-lpthread", "-Wl,-rpath,$ORIGIN"];
    cc(dir, &[&arguments, on, &["-Wl,-rpath-link,."]].concat())
}

/// The doubles of the libraries, and the programs.
fn build(dir: &Path) -> Result<()> {
    let [cuda, hsa, hip] = ["libcuda.so.1", "libhsa-runtime64.so.1", "libamdhip64.so.5"];
    let here = [cuda, hsa, hip].map(|file| format!("./{file}"));
    library(dir, cuda, "cuda/double.c", &[])?;
    library(dir, hsa, "hip/hsa.c", &[])?;
    library(dir, hip, "hip/hip.c", &[&here[1]])?;
    program(dir, "alone", "cuda/workload.c", &[&here[0]])?;
    program(dir, "both", "side-by-side/both.c", &[&here[0], &here[2]])
}

fn alone(dir: &Path) -> Result<Witness> {
    Witness::start(Command::new(dir.join("alone")).arg("--double"))
}

fn both(dir: &Path) -> Result<Witness> {
    Witness::start(&mut Command::new(dir.join("both")))
}

/// What it says of itself at its step of this name, where it stays.
fn at(witness: &mut Witness, step: &str) -> Result<Value> {
    loop {
        let said = witness.step()?.with_context(|| step.to_owned())?;
        if said["step"] == step {
            return Ok(said);
        }
        witness.go_on()?;
    }
}

/// What a program says that it holds; where it uses one runtime only, that is CUDA.
fn held(said: &Value) -> Result<Held> {
    let mut held = Held::new();
    for one in said["live"].as_array().context("live")? {
        let place = (
            one["runtime"].as_str().unwrap_or("cuda").to_owned(),
            one["device"].as_i64(),
            one["pool"].as_str().context("a pool")?.to_owned(),
        );
        let sum = held.entry(place).or_default();
        *sum = (sum.0 + one["bytes"].as_u64().context("bytes")?, sum.1 + 1);
    }
    Ok(held)
}

/// What the driver of tt-metal's double says that its allocator has charged.
fn held_by_tt(answer: &Value) -> Held {
    let mut held = Held::new();
    for chip in [0, 1] {
        for pool in TT_POOLS {
            let number = |what: &str| answer[what][chip.to_string()][pool].as_u64();
            if let (Some(bytes @ 1..), Some(live)) = (number("truth"), number("live")) {
                let place = ("tt-metal".to_owned(), Some(chip), pool.to_owned());
                held.insert(place, (bytes, live));
            }
        }
    }
    held
}

/// Programs on three runtimes, of which one uses two, and what each says that it holds.
struct Scene {
    daemon: Daemon,
    port: u16,
    tracy: SocketAddr,
    both: Witness,
    said: Value,
    /// By pid, with the name of the program.
    truth: BTreeMap<u32, (&'static str, Held)>,
    // These hold what they hold until the end.
    _alone: Witness,
    _tt: Driver,
    _before: [Witness; 2],
    _directory: tempfile::TempDir,
}

impl Scene {
    fn set() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let dir = directory.path();
        build(dir)?;
        // They make the libraries known: the others are seen from their start.
        let mut before = [alone(dir)?, both(dir)?];
        for one in &mut before {
            at(one, "nothing")?;
        }
        let mut tt = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
        let (port, tracy) = (
            free_port()?,
            SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
        );
        let daemon = Daemon::start(&[
            "--refresh",
            "100",
            "--metrics",
            &port.to_string(),
            "--tracy-listen",
            &tracy.to_string(),
        ])?;
        acquainted(&daemon, tt.pid())?;
        // Start times are told in hundredths of a second: surely after the attachment.
        sleep(Duration::from_millis(30));
        tt.ask("open chips 2 trace 1048576")?;
        tt.ask("alloc a DRAM 2097152 2048")?;
        tt.ask("alloc b L1 32768 4096 shards 8")?;
        let of_tt = tt.ask("alloc c TRACE 65536 4096")?;
        let (mut alone, mut both) = (alone(dir)?, both(dir)?);
        let of_alone = at(&mut alone, "virtual memory")?;
        let said = at(&mut both, "both")?;
        let truth = BTreeMap::from([
            (tt.pid(), ("fixture", held_by_tt(&of_tt))),
            (alone.pid(), ("alone", held(&of_alone)?)),
            (both.pid(), ("both", held(&said)?)),
        ]);
        for (name, held) in truth.values() {
            ensure!(held.len() >= 5, "{name}: {held:?}");
        }
        Ok(Self {
            daemon,
            port,
            tracy,
            both,
            said,
            truth,
            _alone: alone,
            _tt: tt,
            _before: before,
            _directory: directory,
        })
    }

    fn socket(&self) -> Result<String> {
        let socket = self.daemon.socket();
        Ok(socket.to_str().context("a plain path")?.to_owned())
    }

    fn pids(&self) -> String {
        let pids: Vec<String> = self.truth.keys().map(ToString::to_string).collect();
        pids.join(",")
    }

    /// What `-q` prints of these programs alone.
    fn query(&self, format: &str, more: &[&str]) -> Result<String> {
        let (socket, pids) = (self.socket()?, self.pids());
        let arguments = ["-q", "--socket", &socket, "-p", &pids, "--format", format];
        let output = memmon::run(&[&arguments, more].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{format}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// All that these programs hold, by place.
    fn everything(&self) -> impl Iterator<Item = (u32, &'static str, &Place, u64, u64)> {
        self.truth.iter().flat_map(|(pid, (name, held))| {
            let rows = held.iter();
            rows.map(move |(place, (bytes, live))| (*pid, *name, place, *bytes, *live))
        })
    }
}

fn place(row: &Usage) -> Place {
    (row.runtime.clone(), row.device, row.pool.clone())
}

/// The rows that hold something, of a process.
fn told(snapshot: &Snapshot, pid: u32) -> Result<Held> {
    let process = process(snapshot, pid).with_context(|| format!("no {pid}"))?;
    let mut told = Held::new();
    for row in process.usage.as_ref().context("its usage")? {
        let (bytes, live) = row.charged_bytes.zip(row.live_allocations).context("?")?;
        ensure!(row.exact, "{row:?}");
        if live > 0 {
            let twice = told.insert(place(row), (bytes, live));
            ensure!(twice.is_none(), "two rows of one place: {row:?}");
        }
    }
    Ok(told)
}

fn rows_of_json(scene: &Scene) -> Result<()> {
    let snapshot = scene.daemon.snapshot()?;
    for (pid, (name, held)) in &scene.truth {
        let told = told(&snapshot, *pid)?;
        ensure!(told == *held, "{name} says {held:?}, it is told {told:?}");
    }
    let own = process(&snapshot, scene.both.pid()).context("it is there")?;
    let order: Vec<Place> = own.usage.iter().flatten().map(place).collect();
    ensure!(order == rows(), "{order:?}");
    for library in ["cuda", "hip", "hsa", "tt-metal"] {
        let mut known = snapshot.libraries.iter();
        ensure!(known.any(|one| one.runtime == library), "no {library}");
    }
    ensure!(snapshot.libraries.is_sorted_by_key(|one| &one.runtime));
    Ok(())
}

fn rows() -> Vec<Place> {
    let rows = ROWS.iter();
    rows.map(|(runtime, device, pool)| ((*runtime).to_owned(), Some(*device), (*pool).to_owned()))
        .collect()
}

/// Each is the sum of its runtime's own. What others on this machine hold is taken as it is told.
fn devices_are_of_one_runtime(scene: &Scene) -> Result<()> {
    let snapshot = scene.daemon.snapshot()?;
    let mut sums = BTreeMap::<(Place, Option<String>), u64>::new();
    for process in &snapshot.processes {
        let is_own = scene.truth.contains_key(&process.pid);
        for row in process.usage.iter().flatten() {
            let running = process.state == "running" && !row.uncharged;
            let said = scene.truth.get(&process.pid);
            let said = said.and_then(|(_, held)| held.get(&place(row)));
            let bytes = if is_own {
                said.map_or(0, |(bytes, _)| *bytes)
            } else {
                row.charged_bytes.unwrap_or(0)
            };
            if running {
                *sums
                    .entry((place(row), row.device_uid.clone()))
                    .or_default() += bytes;
            }
        }
    }
    let mut compared = 0;
    for device in &snapshot.devices {
        for pool in &device.pools {
            let place = (device.runtime.clone(), device.device, pool.pool.clone());
            let sum = sums.get(&(place.clone(), device.device_uid.clone()));
            ensure!(
                pool.charged_bytes == Some(sum.copied().unwrap_or(0)),
                "{place:?}: {sum:?}, told {pool:?}"
            );
            compared += 1;
        }
    }
    ensure!(compared >= 13, "only {compared} pools: {sums:?}");
    let order: Vec<_> = snapshot
        .devices
        .iter()
        .map(|one| (&one.runtime, one.device.is_none(), one.device))
        .collect();
    ensure!(order.is_sorted(), "{order:?}");
    Ok(())
}

fn rows_of_csv(scene: &Scene) -> Result<()> {
    let text = scene.query("csv", &[])?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().context("a header")?.split(',').collect();
    let column = |name: &str| header.iter().position(|it| *it == name).context("a column");
    let [pid, runtime, device, pool, bytes, live] = [
        column("pid")?,
        column("runtime")?,
        column("device")?,
        column("pool")?,
        column("charged_bytes")?,
        column("live_allocations")?,
    ];
    let mut found = BTreeMap::<u32, Vec<(Place, (u64, u64))>>::new();
    for line in lines {
        // Nothing in these lines is quoted.
        let cells: Vec<&str> = line.split(',').collect();
        let place = (
            cells[runtime].to_owned(),
            cells[device].parse().ok(),
            cells[pool].to_owned(),
        );
        let numbers = (cells[bytes].parse()?, cells[live].parse()?);
        let rows = found.entry(cells[pid].parse()?).or_default();
        rows.push((place, numbers));
    }
    for (pid, (name, held)) in &scene.truth {
        let mut rows = found.remove(pid).with_context(|| (*name).to_owned())?;
        if *pid == scene.both.pid() {
            let order: Vec<Place> = rows.iter().map(|(place, _)| place.clone()).collect();
            ensure!(order == self::rows(), "{order:?}");
        }
        rows.retain(|(_, (_, live))| *live > 0);
        let told: Held = rows.into_iter().collect();
        ensure!(told == *held, "{name} says {held:?}, it is told {told:?}");
    }
    ensure!(found.is_empty(), "others: {found:?}");
    Ok(())
}

fn rows_of_the_table(scene: &Scene) -> Result<()> {
    let text = scene.query("table", &[])?;
    for (pid, name, (runtime, device, pool), bytes, _) in scene.everything() {
        let device = device.map_or("?".to_owned(), |id| id.to_string());
        let label = format!("{runtime}:{device}");
        let own = text.lines().filter(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&pid.to_string().as_str())
                && words.contains(&label.as_str())
                && words.contains(&pool.as_str())
        });
        let own: Vec<&str> = own.collect();
        let bytes = Bytes::Human.format(bytes);
        ensure!(
            own.len() == 1 && own[0].contains(&format!(" {bytes} ")),
            "{name}: {bytes} of {label} {pool}: {own:?} of\n{text}"
        );
    }
    Ok(())
}

fn filters(scene: &Scene) -> Result<()> {
    let parts = |more: &[&str]| -> Result<BTreeMap<u32, Held>> {
        let snapshot = scene.daemon.snapshot_with(more)?;
        let pids = snapshot.processes.iter().map(|process| process.pid);
        pids.filter(|pid| scene.truth.contains_key(pid))
            .map(|pid| Ok((pid, told(&snapshot, pid)?)))
            .collect()
    };
    let wanted = |is: &dyn Fn(&Place) -> bool| -> BTreeMap<u32, Held> {
        let parts = scene.truth.iter().map(|(pid, (_, held))| {
            let part = held.iter().filter(|(place, _)| is(place));
            (*pid, part.map(|(place, it)| (place.clone(), *it)).collect())
        });
        parts
            .filter(|(_, held): &(_, Held)| !held.is_empty())
            .collect()
    };
    for runtime in ["cuda", "hip", "tt-metal"] {
        let (found, said) = (
            parts(&["--runtime", runtime])?,
            wanted(&|place| place.0 == runtime),
        );
        ensure!(
            found == said,
            "--runtime {runtime}: {found:?}, not {said:?}"
        );
    }
    let (found, said) = (parts(&["-d", "0"])?, wanted(&|place| place.1 == Some(0)));
    ensure!(found == said, "-d 0: {found:?}, not {said:?}");
    let (found, said) = (
        parts(&["-d", "1", "--runtime", "hip"])?,
        wanted(&|place| place.1 == Some(1) && place.0 == "hip"),
    );
    ensure!(found == said && found.len() == 1, "{found:?}, not {said:?}");
    Ok(())
}

/// The text's order, and what a Prometheus makes of the labels.
fn open_metrics(scene: &Scene) -> Result<()> {
    let text = scene.query("openmetrics", &[])?;
    let own = format!("pid=\"{}\"", scene.both.pid());
    let order: Vec<Place> = text
        .lines()
        .filter(|line| line.starts_with("memmon_charged_bytes{") && line.contains(&own))
        .map(|line| {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                Some(rest.split_once('"')?.0.to_owned())
            };
            let device = label("device").and_then(|id| id.parse().ok());
            Some((label("runtime")?, device, label("pool")?))
        })
        .collect::<Option<_>>()
        .context("labels")?;
    ensure!(order == rows(), "{order:?}");

    let prometheus = Prometheus::scraping(scene.port, &[])?;
    for (pid, name, (runtime, device, pool), bytes, live) in scene.everything() {
        let device = device.map_or(String::new(), |id| id.to_string());
        let place =
            format!("pid=\"{pid}\",runtime=\"{runtime}\",device=\"{device}\",pool=\"{pool}\"");
        // Not a sum: there is one series only.
        for (family, number) in [("charged_bytes", bytes), ("live_allocations", live)] {
            let expression = format!("memmon_{family}{{{place}}}");
            prometheus
                .becomes(&expression, number)
                .with_context(|| name.to_owned())?;
        }
    }
    // Of one scrape: what devices hold is what their own runtime's processes hold.
    let difference = "memmon_device_charged_bytes - on (runtime, device, device_uid, pool) \
                      sum by (runtime, device, device_uid, pool) (memmon_charged_bytes)";
    prometheus.becomes(&format!("max(abs({difference}))"), 0)?;
    prometheus.becomes(
        "count(count by (runtime) (memmon_device_charged_bytes{device=\"0\",runtime=~\"cuda|hip|tt-metal\"}))",
        3,
    )?;
    prometheus.is_content()
}

/// As the view writes exact bytes.
fn grouped(bytes: u64) -> String {
    let digits = bytes.to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn full_screen(scene: &Scene) -> Result<()> {
    let (socket, pids) = (scene.socket()?, scene.pids());
    let command = memmon::command(["-r", "200", "--socket", &socket, "-p", &pids]);
    let mut screen = Screen::start(command, (220, 60))?;
    screen.until_shown("COMMAND")?;
    screen.press("u")?;
    for (pid, name, (runtime, device, pool), bytes, _) in scene.everything() {
        let (Some(device), "DEVICE" | "DRAM") = (device, pool.as_str()) else {
            continue;
        };
        let (pid, label) = (pid.to_string(), format!("{runtime}:{device}"));
        let bytes = grouped(bytes);
        screen.until(&format!("{bytes} of {label} by {name}"), |text| {
            text.lines().any(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words.first() == Some(&pid.as_str())
                    && words.contains(&label.as_str())
                    && words.contains(&bytes.as_str())
            })
        })?;
    }
    // A card or a line for each device, by its runtime.
    for device in [
        "cuda:0",
        "cuda:1",
        "hip:0",
        "hip:1",
        "tt-metal:0",
        "tt-metal:1",
    ] {
        screen.until(device, |text| {
            text.lines().any(|line| {
                // Cards stand beside each other.
                let mut words = line.split_whitespace();
                words.any(|word| word == device) && !line.contains("running")
            })
        })?;
    }
    // What is held is shown where it is not known how much there is, too.
    ensure!(!screen.text().contains("… / "), "{screen:?}");
    screen.press("gg")?;
    for device in ["cuda:0", "hip:0", "tt-metal:0"] {
        screen.until(&format!("the group of {device}"), |text| {
            text.lines().any(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words.get(1) == Some(&"device") && words.get(3) == Some(&device)
            })
        })?;
    }
    screen.press("ggg")?;
    screen.until("no groups", |text| !text.contains("grouped by"))?;

    // The process of two runtimes: every pool of every device, in the order of the rows.
    let pid = scene.both.pid().to_string();
    screen.click(&format!("{pid}  "))?;
    screen.press("\r")?;
    screen.until_shown(&format!("2 process {pid}"))?;
    let (_, truth) = &scene.truth[&scene.both.pid()];
    screen.until("its pools", |text| {
        let rows = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [device, pool, ..] = words.as_slice() else {
                return None;
            };
            let (runtime, id) = device.split_once(':')?;
            let place = (
                runtime.to_owned(),
                Some(id.parse().ok()?),
                (*pool).to_owned(),
            );
            let (bytes, _) = truth.get(&place)?;
            words.contains(&grouped(*bytes).as_str()).then_some(place)
        });
        rows.collect::<Vec<_>>() == self::rows()
    })?;
    // Where its largest block is.
    screen.press("\r")?;
    screen.until("a device's page", |text| {
        let title = text.lines().nth(1).unwrap_or_default();
        title.contains("device cuda:1") || title.contains("device hip:1")
    })?;
    screen.press("q")?;
    ensure!(screen.ended()?.success());
    Ok(())
}

/// Plots and pools of each runtime have names of their own.
fn tracy(scene: &Scene) -> Result<()> {
    let mut profiler = Profiler::connect(scene.tracy)?;
    let mut wanted = BTreeMap::<String, f64>::new();
    for (pid, name, (runtime, device, pool), bytes, _) in scene.everything() {
        let device = device.map_or("?".to_owned(), |id| id.to_string());
        let plot = format!("{name}[{pid}] {runtime}:{device} {pool}");
        wanted.insert(plot, bytes as f64);
    }
    let blocks = scene.said["live"].as_array().context("live")?;
    profiler.wait_for("what stands", |books| {
        let own = books.plots().into_iter().filter(|(name, value)| {
            let mut pids = scene.truth.keys();
            *value != 0.0 && pids.any(|pid| name.contains(&format!("[{pid}] ")))
        });
        let own: BTreeMap<String, f64> = own.map(|(name, it)| (name.to_owned(), it)).collect();
        let stands = |one: &Value| {
            let pool = format!(
                "{}:{} {}",
                one["runtime"].as_str().unwrap_or_default(),
                one["device"],
                one["pool"].as_str().unwrap_or_default()
            );
            let (key, bytes) = (one["key"].as_u64(), one["bytes"].as_u64());
            let live = books.pool(&pool).map(|pool| &pool.live);
            // Where another process is at the same address, the bits above tell them apart.
            live.into_iter().flatten().any(|(address, size)| {
                Some(address & 0xffff_ffff_ffff) == key && Some(*size) == bytes
            })
        };
        own == wanted && blocks.iter().all(stands)
    })?;
    profiler.disconnect()
}

/// What one runtime gives back, and refuses, is that one's alone.
fn one_of_them_frees(scene: &mut Scene) -> Result<()> {
    let pid = scene.both.pid();
    scene.both.go_on()?;
    let said = at(&mut scene.both, "less")?;
    let (before, now) = (held(&scene.said)?, held(&said)?);
    let part = |held: &Held, runtime: &str| -> u64 {
        let own = held.iter().filter(|((it, ..), _)| it == runtime);
        own.map(|(_, (bytes, _))| bytes).sum()
    };
    ensure!(part(&before, "cuda") == part(&now, "cuda"));
    ensure!(part(&before, "hip") > part(&now, "hip"));
    let snapshot = scene.daemon.snapshot()?;
    let told = told(&snapshot, pid)?;
    ensure!(told == now, "it says {now:?}, it is told {told:?}");
    let refused = said["failures"].as_array().context("failures")?;
    ensure!(refused.len() == 2, "{refused:?}");
    for one in refused {
        let found = snapshot.failures.iter().filter(|failure| {
            failure.pid == pid
                && failure.runtime == one["runtime"].as_str().unwrap_or_default()
                && failure.devices == [one["device"].as_i64()]
                && failure.pool == one["pool"].as_str().unwrap_or_default()
                && failure.error_code == one["code"].as_i64()
                && Some(failure.requested_bytes) == one["bytes"].as_u64()
        });
        ensure!(found.count() == 1, "{one} in {:?}", snapshot.failures);
    }
    Ok(())
}

#[test]
fn every_view_shows_every_runtime() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut scene = Scene::set()?;
    type View = fn(&Scene) -> Result<()>;
    let views: [(&str, View); 8] = [
        ("JSON", rows_of_json),
        ("devices", devices_are_of_one_runtime),
        ("CSV", rows_of_csv),
        ("the table", rows_of_the_table),
        ("filters", filters),
        ("OpenMetrics", open_metrics),
        ("the full-screen view", full_screen),
        ("Tracy", tracy),
    ];
    let wrong: Vec<String> = views
        .iter()
        .filter_map(|(name, view)| Some(format!("{name}: {:#}", view(&scene).err()?)))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    one_of_them_frees(&mut scene).context("a free")
}

#[test]
fn a_recording_tells_them_apart() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir()?;
    build(directory.path())?;
    let mut before = both(directory.path())?;
    at(&mut before, "nothing")?;
    let recorder = Recorder::start(&[])?;
    sleep(Duration::from_millis(30));
    let mut both = both(directory.path())?;
    let pid = both.pid();
    let most = held(&at(&mut both, "both")?)?;
    both.go_on()?;
    let last = at(&mut both, "less")?;
    let (refused, last) = (last["failures"].clone(), held(&last)?);
    let (file, folder, _) = recorder.finish()?;

    let read = perfetto(&file, folder.path())?;
    let counters = read["counters"].as_object().context("counters")?;
    let own = counters
        .keys()
        .filter(|name| name.starts_with(&format!("{pid} ")));
    assert_eq!(own.count(), most.len(), "{:?}", counters.keys());
    for ((runtime, device, pool), (bytes, _)) in &most {
        let device = device.context("a device")?;
        let name = format!("{pid} {runtime}:{device} {pool}");
        let values = counters.get(&name).with_context(|| name.clone())?;
        let values: Vec<u64> = values
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|point| point[1].as_u64())
            .collect();
        let place = (runtime.clone(), Some(device), pool.clone());
        let end = last.get(&place).map_or(0, |(bytes, _)| *bytes);
        assert_eq!(values.iter().max(), Some(bytes), "{name}: {values:?}");
        assert_eq!(values.last(), Some(&end), "{name}: {values:?}");
    }
    let marks = read["instants"].as_array().context("marks")?;
    for one in refused.as_array().context("failures")? {
        let place = format!(
            " of {}:{} {}",
            one["runtime"].as_str().unwrap_or_default(),
            one["device"],
            one["pool"].as_str().unwrap_or_default()
        );
        let found = marks.iter().filter(|mark| {
            mark[0] == pid && mark[1].as_str().is_some_and(|it| it.ends_with(&place))
        });
        assert_eq!(found.count(), 1, "{place}: {marks:?}");
    }

    // The totals, at the end and by one runtime.
    let seen = memmon_tests::recorder::snapshot(&file, "end")?;
    ensure!(told(&seen, pid)? == last);
    let output = replay(
        &file,
        &["--format", "json", "--at", "end", "--runtime", "hip"],
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let seen: Snapshot = serde_json::from_slice(&output.stdout)?;
    let of_hip: Held = last
        .into_iter()
        .filter(|((runtime, ..), _)| runtime == "hip")
        .collect();
    ensure!(told(&seen, pid)? == of_hip);
    Ok(())
}

/// A runtime whose past nobody can read is no reason to doubt one whose past is read: PyTorch brings CUDA's libraries
/// into programs that use something else.
#[test]
fn what_one_hides_says_nothing_of_another() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir()?;
    let library = directory.path().join("libcuda.so.1");
    self::library(directory.path(), "libcuda.so.1", "cuda/double.c", &[])?;
    let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
    let mut command = Command::new(fixture.driver());
    command.env("LD_PRELOAD", &library);
    let mut driver = Driver::spawn(command)?;
    driver.ask("alloc a DRAM 2097152 2048")?;
    let answer = driver.ask("alloc b L1 32768 4096 shards 8")?;
    let pid = driver.pid();

    let looked = memmon::query(&["-p", &pid.to_string()])?;
    ensure!(told(&looked, pid)? == held_by_tt(&answer), "{looked:#?}");
    let notes = &looked.health.notes;
    ensure!(
        notes.iter().any(|note| note.contains("uses cuda, too")),
        "{notes:?}"
    );

    let daemon = Daemon::start(&[])?;
    acquainted(&daemon, pid)?;
    let seen = daemon.snapshot()?;
    ensure!(told(&seen, pid)? == held_by_tt(&answer), "{seen:#?}");
    let process = process(&seen, pid).context("it is there")?;
    ensure!(process.since == "attach", "since {}", process.since);
    // What comes next is seen, too.
    let answer = driver.ask("free a")?;
    ensure!(told(&daemon.snapshot()?, pid)? == held_by_tt(&answer));
    Ok(())
}
