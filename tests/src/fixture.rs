//! Builds the double of `libtt_metal.so` (`tests/fixture/`) and speaks with the program that drives it.
//!
//! What the double can do, and where it differs from the real library: `tests/fixture/README.md`.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::elf_damage;

/// Which release's object layout the double has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// As in 0.75.0: the fields lie in the `Buffer` itself.
    Inline,
    /// As in 0.81.1: they lie behind a pointer.
    Pimpl,
}

/// What is wrong with the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing.
    None,
    /// Only `.dynsym` is left. Must work all the same.
    Stripped,
    /// Works, but exports nothing of tt-metal's.
    NoSymbols,
    /// Works, but no layout can be read off its accessors and constructor.
    UnknownShape,
    /// Works, but two of its symbols point outside the code.
    LyingSymbols,
    /// The first part of the file only: whoever loads it dies of SIGBUS, so only map it (`map PATH`).
    Truncated,
    /// Rubbish behind a sound ELF header. Cannot be loaded, only mapped.
    Garbled,
}

impl Fault {
    /// Every fault, and none.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Stripped,
        Self::NoSymbols,
        Self::UnknownShape,
        Self::LyingSymbols,
        Self::Truncated,
        Self::Garbled,
    ];

    /// Whether a program can run with it.
    pub fn loads(self) -> bool {
        !matches!(self, Self::Truncated | Self::Garbled)
    }
}

const LIB_SOURCES: [&str; 6] = [
    "lib/leaf.S",
    "lib/allocator.cpp",
    "lib/buffer.cpp",
    "lib/corrupt.cpp",
    "lib/device.cpp",
    "lib/layout.cpp",
];
const OTHER_SOURCES: [&str; 3] = ["lib/tt_metal.hpp", "lib/api.hpp", "driver/driver.cpp"];
/// The Makefile says why each is there.
const FLAGS: [&str; 10] = [
    "-std=c++20",
    "-O2",
    "-fPIC",
    "-fno-omit-frame-pointer",
    "-fno-shrink-wrap",
    "-fplt",
    "-fcf-protection=none",
    "-Wall",
    "-Wno-invalid-offsetof",
    "-pthread",
];
const LIB_LINK: [&str; 4] = [
    "-shared",
    "-Wl,-soname,libtt_metal.so",
    "-Wl,--build-id",
    "-Wl,--section-start=.init=0x40bf0",
];
const TRACK_ALLOCATE: &str = "_ZN2tt8tt_metal12GraphTracker14track_allocateEPKNS0_6BufferE";
const BANK_ALLOCATE: &str = "_ZN2tt8tt_metal11BankManager15allocate_buffer";

/// One built variant: a folder with the library and its two drivers.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The folder.
    pub dir: PathBuf,
}

impl Fixture {
    /// The variant, built where all tests share it; built once per content of the sources.
    pub fn get(layout: Layout, fault: Fault) -> Result<Self> {
        Self::build_in(&cache_dir(), layout, fault)
    }

    /// The variant, under `dir`.
    pub fn build_in(dir: &Path, layout: Layout, fault: Fault) -> Result<Self> {
        let name = format!("{layout:?}-{fault:?}-{:016x}", source_hash()?).to_lowercase();
        let done = dir.join(name);
        if done.join("libtt_metal.so").exists() {
            return Ok(Self { dir: done });
        }
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let scratch = tempfile::Builder::new()
            .prefix(".building-")
            .tempdir_in(dir)
            .context("a folder to build in")?;
        build_library(dir, scratch.path(), layout, fault)?;
        place_drivers(dir, scratch.path())?;
        publish(scratch, &done)?;
        Ok(Self { dir: done })
    }

    /// `libtt_metal.so`.
    pub fn library(&self) -> PathBuf {
        self.dir.join("libtt_metal.so")
    }

    /// The driver that is linked to the library beside it.
    pub fn driver(&self) -> PathBuf {
        self.dir.join("fixture")
    }

    /// The driver that loads a library when told to (`dlopen PATH`).
    pub fn dlopen_driver(&self) -> PathBuf {
        self.dir.join("fixture-dlopen")
    }

    /// Starts the linked driver.
    pub fn spawn(&self) -> Result<Driver> {
        Driver::spawn(Command::new(self.driver()))
    }

    /// Starts the driver that has nothing loaded yet.
    pub fn spawn_unloaded(&self) -> Result<Driver> {
        Driver::spawn(Command::new(self.dlopen_driver()))
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture")
}

/// `MEMMON_FIXTURE_DIR`, else `fixture` in cargo's target folder.
fn cache_dir() -> PathBuf {
    if let Some(dir) = env::var_os("MEMMON_FIXTURE_DIR") {
        return PathBuf::from(dir);
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    // As the kernel names it in a process's mappings.
    target.canonicalize().unwrap_or(target).join("fixture")
}

fn source_hash() -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for name in LIB_SOURCES.iter().chain(&OTHER_SOURCES) {
        let path = sources().join(name);
        fs::read(&path)
            .with_context(|| format!("reading {}", path.display()))?
            .hash(&mut hasher);
    }
    (
        FLAGS,
        LIB_LINK,
        include_str!("fixture.rs"),
        include_str!("elf_damage.rs"),
    )
        .hash(&mut hasher);
    Ok(hasher.finish())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}: is it installed?"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn gxx() -> Command {
    let mut command = Command::new(env::var_os("CXX").unwrap_or_else(|| "g++".into()));
    command.current_dir(sources()).args(FLAGS);
    command
}

fn build_library(cache: &Path, dir: &Path, layout: Layout, fault: Fault) -> Result<()> {
    let library = dir.join("libtt_metal.so");
    if matches!(fault, Fault::Stripped | Fault::Truncated | Fault::Garbled) {
        let sound = Fixture::build_in(cache, layout, Fault::None)?;
        fs::copy(sound.library(), &library).context("copying the sound library")?;
    } else {
        compile_library(dir, &library, layout, fault)?;
    }
    spoil_library(&library, fault)
}

fn compile_library(dir: &Path, library: &Path, layout: Layout, fault: Fault) -> Result<()> {
    let mut command = gxx();
    if layout == Layout::Pimpl {
        command.arg("-DFIXTURE_PIMPL");
    }
    command.args(LIB_LINK);
    match fault {
        Fault::UnknownShape => {
            command.arg("-DFIXTURE_WEIRD");
        }
        Fault::NoSymbols => {
            let script = dir.join("only-the-api.map");
            fs::write(&script, "{ global: fixture_api; local: *; };\n")
                .context("writing the version script")?;
            command.arg(format!("-Wl,--version-script={}", script.display()));
        }
        // Or its own calls would go where the symbols point.
        Fault::LyingSymbols => {
            command.arg("-Wl,-Bsymbolic-functions");
        }
        Fault::None | Fault::Stripped | Fault::Truncated | Fault::Garbled => {}
    }
    run(command.arg("-o").arg(library).args(LIB_SOURCES))
}

fn spoil_library(library: &Path, fault: Fault) -> Result<()> {
    match fault {
        Fault::Stripped | Fault::NoSymbols => run(Command::new("strip").arg(library)),
        Fault::LyingSymbols => damage(library, |bytes| {
            // One just behind the code in the data, one where there is nothing.
            let data = elf_damage::symbol(bytes, "_ZTVN2tt8tt_metal6DeviceE")?;
            elf_damage::move_symbols(bytes, TRACK_ALLOCATE, data)?;
            elf_damage::move_symbols(bytes, BANK_ALLOCATE, 0x7fff_ffff_0000)
        }),
        Fault::Truncated => damage(library, |bytes| {
            bytes.truncate(bytes.len() * 2 / 5);
            Ok(())
        }),
        Fault::Garbled => damage(library, |bytes| {
            elf_damage::garble(bytes);
            Ok(())
        }),
        Fault::None | Fault::UnknownShape => Ok(()),
    }
}

fn damage(path: &Path, how: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    how(&mut bytes)?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// The drivers are the same for every variant: built once, against a sound library, and linked into place.
fn place_drivers(cache: &Path, dir: &Path) -> Result<()> {
    let done = cache.join(format!("drivers-{:016x}", source_hash()?));
    if !done.exists() {
        let scratch = tempfile::Builder::new()
            .prefix(".building-")
            .tempdir_in(cache)
            .context("a folder to build in")?;
        build_library(cache, scratch.path(), Layout::Inline, Fault::None)?;
        let mut linked = gxx();
        linked
            .arg("-o")
            .arg(scratch.path().join("fixture"))
            .arg("driver/driver.cpp");
        linked.arg("-L").arg(scratch.path()).args([
            "-ltt_metal",
            "-Wl,--enable-new-dtags",
            "-Wl,-rpath,$ORIGIN",
        ]);
        run(&mut linked)?;
        let mut unlinked = gxx();
        unlinked
            .arg("-DFIXTURE_DLOPEN")
            .arg("-o")
            .arg(scratch.path().join("fixture-dlopen"));
        run(unlinked.args(["driver/driver.cpp", "-ldl"]))?;
        publish(scratch, &done)?;
    }
    // Copies, not links: $ORIGIN is the folder of the file that was started.
    for name in ["fixture", "fixture-dlopen"] {
        fs::copy(done.join(name), dir.join(name)).with_context(|| format!("copying {name}"))?;
    }
    Ok(())
}

/// Moves a finished folder into place at once; another test may have been faster.
fn publish(scratch: tempfile::TempDir, done: &Path) -> Result<()> {
    let built = scratch.keep();
    if let Err(error) = fs::rename(&built, done) {
        fs::remove_dir_all(&built).ok();
        ensure!(
            done.exists(),
            "moving {} to {}: {error}",
            built.display(),
            done.display()
        );
    }
    Ok(())
}

/// A running driver. Dropping it kills it.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// How long an answer may take.
    pub patience: Duration,
}

impl Driver {
    /// Starts `command`, whose standard input and output become the conversation. It may be any command that ends up
    /// executing a driver with both untouched (`memmon-ebpf run -- fixture`).
    pub fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let input = child.stdin.take();
        let output = child
            .stdout
            .take()
            .context("the driver's standard output")?;
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            input,
            lines,
            patience: Duration::from_secs(60),
        })
    }

    /// The process that was started (with `memmon-ebpf run`, that is not the driver: see `pid` in its answers).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command and does not wait for its answer (there is none to `kill9` and `oom_uncaught`).
    pub fn tell(&mut self, command: &str) -> Result<()> {
        let input = self
            .input
            .as_mut()
            .context("the driver's input was closed")?;
        writeln!(input, "{command}").with_context(|| format!("telling the driver to {command}"))?;
        input.flush().context("flushing")
    }

    /// The next answer, whatever it says.
    pub fn answer(&mut self) -> Result<Value> {
        let line = self
            .lines
            .recv_timeout(self.patience)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => {
                    anyhow!("the driver has not answered within {:?}", self.patience)
                }
                RecvTimeoutError::Disconnected => {
                    anyhow!("the driver is gone: {:?}", self.child.try_wait())
                }
            })?;
        serde_json::from_str(&line)
            .with_context(|| format!("the driver's answer is no JSON: {line}"))
    }

    /// Sends a command and gives back its answer, which must say that all is well.
    pub fn ask(&mut self, command: &str) -> Result<Value> {
        self.tell(command)?;
        let answer = self
            .answer()
            .with_context(|| format!("asking for `{command}`"))?;
        ensure!(answer["ok"] == true, "`{command}`: {}", answer["error"]);
        Ok(answer)
    }

    /// Sends a command that must be refused, and gives back the driver's reason.
    pub fn refused(&mut self, command: &str) -> Result<String> {
        self.tell(command)?;
        let answer = self.answer()?;
        match answer["error"].as_str() {
            Some(reason) if answer["ok"] == false => Ok(reason.to_owned()),
            _ => bail!("`{command}` was not refused: {answer}"),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("pid")?;
        // SAFETY: kill() touches no memory of ours; the child is not reaped before `wait`, so the pid is its own.
        let sent = unsafe { libc::kill(pid, signal) };
        ensure!(
            sent == 0,
            "signalling {pid}: {}",
            std::io::Error::last_os_error()
        );
        Ok(())
    }

    /// Closes its input, upon which it closes its device and ends; and waits for that.
    pub fn finish(mut self) -> Result<ExitStatus> {
        self.input = None;
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for the driver")? {
                return Ok(status);
            }
            ensure!(
                start.elapsed() < self.patience,
                "the driver has not ended within {:?}",
                self.patience
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A number per chip and pool from an answer (`truth`, `requested`, `live`, `capacity`); 0 where the device is closed.
pub fn number(answer: &Value, what: &str, chip: u32, pool: &str) -> u64 {
    answer[what][chip.to_string().as_str()][pool]
        .as_u64()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];

    /// `ask` fails wherever the library's free lists and the driver's own arithmetic disagree.
    #[test]
    fn the_library_agrees_with_the_formula() -> Result<()> {
        for layout in BOTH {
            let mut driver = Fixture::get(layout, Fault::None)?.spawn()?;
            driver.ask("open chips 2 l1_small 16384 trace 1048576")?;
            let answer = driver.ask("alloc a DRAM 2097152 2048")?;
            // Measured on the real runtime: 2 MiB in tiles of 2048 B over 12 banks.
            assert_eq!(number(&answer, "truth", 1, "DRAM"), 2_113_536);
            driver.ask("alloc b L1 32768 4096 shards 8")?;
            driver.ask("alloc c L1_SMALL 4096 64")?;
            driver.ask("alloc d TRACE 65536 4096")?;
            driver.ask("doublefree a")?;
            assert_eq!(driver.ask("oom")?["failed"], 1);
            driver.ask("threads 3 2 count 50 keep 7")?;
            driver.ask("hooked 3")?;
            driver.ask("throw 3")?;
            driver.ask("cb 2 4096")?;
            assert_eq!(driver.ask("fork")?["child"]["ok"], true);
            assert_eq!(
                number(&driver.ask("forkopen")?["child"], "live", 0, "DRAM"),
                1
            );
            driver.ask("thread_exit_mid")?;
            driver.ask("thread_exit_mid late")?;
            driver.ask("burst 1000 threads 2")?;
            let closed = driver.ask("close")?;
            assert_eq!(closed["bulk_frees"], 10);
            assert_eq!(number(&driver.ask("reopen")?, "truth", 0, "DRAM"), 0);
            driver.refused("alloc x DRAM 5000 4096")?;
            assert!(driver.finish()?.success());
        }
        Ok(())
    }

    #[test]
    fn it_ends_as_told() -> Result<()> {
        let fixture = Fixture::get(Layout::Pimpl, Fault::None)?;
        let mut driver = fixture.spawn()?;
        driver.ask("exit 7")?;
        assert_eq!(driver.wait()?.code(), Some(7));
        let mut driver = fixture.spawn()?;
        driver.tell("kill9")?;
        assert_eq!(driver.wait()?.signal(), Some(libc::SIGKILL));
        let mut command = Command::new(fixture.driver());
        command.stderr(Stdio::null());
        let mut driver = Driver::spawn(command)?;
        driver.tell("oom_uncaught")?;
        assert_eq!(driver.wait()?.signal(), Some(libc::SIGABRT));
        Ok(())
    }

    #[test]
    fn what_loads_works_and_the_rest_can_be_mapped() -> Result<()> {
        for layout in BOTH {
            let sound = Fixture::get(layout, Fault::None)?;
            for fault in Fault::ALL {
                let fixture = Fixture::get(layout, fault)?;
                let path = fixture.library().display().to_string();
                let mut driver = sound.spawn_unloaded()?;
                if fault.loads() {
                    driver.ask(&format!("dlopen {path}"))?;
                    driver.ask("alloc a DRAM 2097152 2048")?;
                    driver.ask("free a")?;
                    fixture.spawn()?.ask("alloc a L1 8192 1024")?;
                } else {
                    driver.ask(&format!("map {path}"))?;
                }
            }
        }
        Ok(())
    }
}
