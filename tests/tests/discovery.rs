//! Libraries wherever they lie and whenever they come, and those that cannot be understood.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use memmon::tables::snapshot::{Library, Snapshot};
use memmon_tests::{
    check::{acquainted, agrees, agrees_from_start, counts, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    memmon::{Daemon, charged},
};
use tempfile::TempDir;

const BOTH: [Layout; 2] = [Layout::Inline, Layout::Pimpl];

/// The library and its driver at paths that nobody has seen before.
fn copy(layout: Layout) -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    fill(dir.path(), layout)?;
    let program = dir.path().join("fixture");
    Ok((dir, program))
}

fn fill(dir: &Path, layout: Layout) -> Result<()> {
    let fixture = Fixture::get(layout, Fault::None)?;
    for from in [fixture.library(), fixture.driver()] {
        let name = from.file_name().context("a file")?;
        // Renamed into place: a file that another thread's child still holds open for writing
        // cannot be executed.
        let scratch = dir.join("scratch");
        let done = Command::new("cp").arg(&from).arg(&scratch).status()?;
        ensure!(done.success());
        fs::rename(&scratch, dir.join(name))?;
    }
    Ok(())
}

fn spawn(program: &Path) -> Result<Driver> {
    Driver::spawn(Command::new(program))
}

fn library<'a>(snapshot: &'a Snapshot, path: &Path) -> Option<&'a Library> {
    let path = path.to_string_lossy();
    snapshot
        .libraries
        .iter()
        .find(|library| library.path == path)
}

#[test]
fn two_copies_at_once() -> Result<()> {
    for layout in BOTH {
        let (one_dir, one) = copy(layout)?;
        let (other_dir, other) = copy(layout)?;
        let daemon = Daemon::start(&[])?;
        let (mut one, mut other) = (spawn(&one)?, spawn(&other)?);
        acquainted(&daemon, one.pid())?;
        acquainted(&daemon, other.pid())?;
        let first = one.ask("alloc a DRAM 2097152 2048")?;
        let second = other.ask("alloc a DRAM 65536 4096")?;
        agrees_from_start(&daemon, &first)?;
        let snapshot = agrees_from_start(&daemon, &second)?;
        for dir in [one_dir, other_dir] {
            let row = library(&snapshot, &dir.path().join("libtt_metal.so"))
                .context("a library is not listed")?;
            ensure!(row.probes > 0 && row.problem.is_none(), "{row:?}");
            assert_eq!(row.processes, 1);
        }
    }
    Ok(())
}

#[test]
fn a_path_never_seen_before() -> Result<()> {
    for layout in BOTH {
        let daemon = Daemon::start(&[])?;
        let (_dir, program) = copy(layout)?;
        let mut driver = spawn(&program)?;
        acquainted(&daemon, driver.pid())?;
        driver.ask("open chips 2")?;
        let answer = driver.ask("alloc a DRAM 2097152 2048")?;
        agrees_from_start(&daemon, &answer)?;
        let answer = driver.ask("freeall")?;
        agrees_from_start(&daemon, &answer)?;
    }
    Ok(())
}

/// It allocates before memmon can have looked at it: counted all the same.
#[test]
fn a_path_never_seen_before_in_a_hurry() -> Result<()> {
    for layout in BOTH {
        let daemon = Daemon::start(&[])?;
        let mut reference = Fixture::get(layout, Fault::None)?.spawn()?;
        reference.ask("leak 50 8192")?;
        let answer = reference.ask("alloc b L1 8192 1024")?;
        for _ in 0..3 {
            let (_dir, program) = copy(layout)?;
            let mut command = Command::new(&program);
            command.args("leak 50 8192 , alloc b L1 8192 1024 , sleep 60000".split(' '));
            let mut driver = Driver::spawn(command)?;
            // The answers to both commands.
            driver.answer()?;
            driver.answer()?;
            let pid = driver.pid();
            daemon.wait_for("all that it holds", |snapshot| {
                let process = running(snapshot, pid)?;
                let all = ["DRAM", "L1"].iter().all(|pool| {
                    charged(snapshot, pid, 0, pool) == Some(number(&answer, "truth", 0, pool))
                });
                (all && process.usage.iter().flatten().all(|row| row.exact)).then_some(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn loaded_late() -> Result<()> {
    for layout in BOTH {
        let (dir, _) = copy(layout)?;
        let mut driver = Fixture::get(layout, Fault::None)?.spawn_unloaded()?;
        let daemon = Daemon::start(&[])?;
        ensure!(running(&daemon.snapshot()?, driver.pid()).is_none());
        let path = dir.path().join("libtt_metal.so");
        driver.ask(&format!("dlopen {}", path.display()))?;
        let answer = driver.ask("alloc a DRAM 2097152 2048")?;
        acquainted(&daemon, driver.pid())?;
        agrees(&daemon, &answer)?;
        let answer = driver.ask("free a")?;
        agrees(&daemon, &answer)?;
    }
    Ok(())
}

#[test]
fn deleted_while_mapped() -> Result<()> {
    for layout in BOTH {
        let (dir, program) = copy(layout)?;
        let mut driver = spawn(&program)?;
        driver.ask("alloc a DRAM 2097152 2048")?;
        dir.close()?;
        let daemon = Daemon::start(&[])?;
        let answer = driver.ask("alloc b L1 8192 1024")?;
        agrees(&daemon, &answer)?;
        let answer = driver.ask("free a")?;
        agrees(&daemon, &answer)?;
    }
    Ok(())
}

/// An upgrade under a running program: the old one runs on with the old file, the next one has
/// the new, which has another layout.
/// Its probes would keep the file, and what it lies on, for ever.
#[test]
fn deleted_and_no_longer_mapped() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let (dir, program) = copy(Layout::Pimpl)?;
    let path = dir.path().join("libtt_metal.so");
    let mut driver = spawn(&program)?;
    agrees(&daemon, &driver.ask("alloc a DRAM 65536 4096")?)?;
    let attached = |snapshot: &Snapshot| {
        let mut rows = snapshot.libraries.iter();
        let path = path.to_string_lossy();
        rows.any(|library| library.path == path && library.probes > 0)
    };
    ensure!(attached(&daemon.snapshot()?));
    drop(dir);
    // As long as it is mapped, it is observed.
    std::thread::sleep(std::time::Duration::from_secs(5));
    agrees(&daemon, &driver.ask("alloc b DRAM 65536 4096")?)?;
    ensure!(attached(&daemon.snapshot()?));
    driver.finish()?;
    daemon.wait_for("being let go of", |snapshot| {
        (!attached(snapshot)).then_some(())
    })?;
    // One that is still there stays: the next who maps it is seen from its first allocation on.
    let (_dir, program) = copy(Layout::Pimpl)?;
    let mut first = spawn(&program)?;
    agrees(&daemon, &first.ask("alloc a DRAM 65536 4096")?)?;
    first.finish()?;
    std::thread::sleep(std::time::Duration::from_secs(5));
    let mut second = spawn(&program)?;
    agrees_from_start(&daemon, &second.ask("alloc a DRAM 65536 4096")?)?;
    Ok(())
}

#[test]
fn replaced_on_disk() -> Result<()> {
    let (dir, program) = copy(Layout::Inline)?;
    let daemon = Daemon::start(&[])?;
    let mut old = spawn(&program)?;
    acquainted(&daemon, old.pid())?;
    let first = old.ask("alloc a DRAM 2097152 2048")?;
    fill(dir.path(), Layout::Pimpl)?;
    let mut new = spawn(&program)?;
    acquainted(&daemon, new.pid())?;
    let second = new.ask("alloc a DRAM 65536 4096")?;
    assert_ne!(first["layout"], second["layout"]);
    agrees_from_start(&daemon, &first)?;
    agrees_from_start(&daemon, &second)?;
    agrees_from_start(&daemon, &old.ask("free a")?)?;
    agrees_from_start(&daemon, &new.ask("free a")?)?;
    Ok(())
}

#[test]
fn stripped() -> Result<()> {
    for layout in BOTH {
        let fixture = Fixture::get(layout, Fault::Stripped)?;
        let mut early = fixture.spawn()?;
        early.ask("alloc a DRAM 2097152 2048")?;
        let daemon = Daemon::start(&[])?;
        let mut late = fixture.spawn()?;
        let answer = early.ask("alloc b L1 8192 1024")?;
        agrees(&daemon, &answer)?;
        let answer = late.ask("alloc a DRAM 65536 4096")?;
        agrees_from_start(&daemon, &answer)?;
    }
    Ok(())
}

/// Listed with the reason, its process with unknown usage; and neither memmon nor it is the worse
/// for it.
#[test]
fn not_understood() -> Result<()> {
    for layout in BOTH {
        let daemon = Daemon::start(&[])?;
        let sound = Fixture::get(layout, Fault::None)?;
        let mut good = sound.spawn()?;
        for fault in [
            Fault::NoSymbols,
            Fault::UnknownShape,
            Fault::LyingSymbols,
            Fault::Truncated,
            Fault::Garbled,
        ] {
            let fixture = Fixture::get(layout, fault)?;
            let mut driver = if fault.loads() {
                fixture.spawn()?
            } else {
                let mut driver = sound.spawn_unloaded()?;
                driver.ask(&format!("map {}", fixture.library().display()))?;
                driver
            };
            acquainted(&daemon, driver.pid())?;
            if fault.loads() {
                driver.ask("alloc a DRAM 2097152 2048")?;
                driver.ask("free a")?;
                driver.ask("oom")?;
            }
            let snapshot = daemon.snapshot()?;
            let row = library(&snapshot, &fixture.library())
                .with_context(|| format!("{fault:?} is not listed"))?;
            let problem = row.problem.as_deref().unwrap_or_default();
            ensure!(problem.len() > 10, "{layout:?} {fault:?}: {row:?}");
            assert_eq!(row.probes, 0, "{layout:?} {fault:?}");
            let process = running(&snapshot, driver.pid()).context("its process")?;
            ensure!(process.usage.is_none(), "{layout:?} {fault:?}: {process:?}");
            ensure!(driver.finish()?.success(), "{layout:?} {fault:?}");
        }
        // All the while the sound one is counted.
        let answer = good.ask("alloc a DRAM 2097152 2048")?;
        agrees_from_start(&daemon, &answer)?;
    }
    Ok(())
}

/// An overlay mount of `lower`; unmounted at its end.
struct Overlay(TempDir);

impl Overlay {
    fn of(lower: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        for name in ["upper", "work", "merged"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let at = dir.path().display();
        let options = format!(
            "lowerdir={},upperdir={at}/upper,workdir={at}/work",
            lower.display()
        );
        let output = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(dir.path().join("merged"))
            .output()?;
        if !output.status.success() {
            bail!(
                "no overlay mount: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(Self(dir))
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("merged/fixture")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.0.path().join("merged"))
            .stderr(Stdio::null())
            .status();
    }
}

/// Containers of one image: one file behind several mounts. Whoever comes first, each counts once.
#[test]
fn overlay_mounts_of_one_file() -> Result<()> {
    for (layout, order) in [
        (Layout::Pimpl, [0, 1, 2]),
        (Layout::Inline, [2, 0, 1]),
        (Layout::Pimpl, [1, 2, 0]),
    ] {
        let (lower, in_lower) = copy(layout)?;
        let mounts = [Overlay::of(lower.path())?, Overlay::of(lower.path())?];
        let programs = [mounts[0].program(), mounts[1].program(), in_lower];
        let daemon = Daemon::start(&[])?;
        let mut drivers = Vec::new();
        for index in order {
            let driver = spawn(&programs[index])?;
            acquainted(&daemon, driver.pid())?;
            drivers.push(driver);
        }
        for driver in &mut drivers {
            driver.ask("alloc a DRAM 2097152 2048")?;
            let answer = driver.ask("burst 100")?;
            agrees_from_start(&daemon, &answer)
                .with_context(|| format!("in the order {order:?}"))?;
        }
        // And for those who were there before memmon.
        drop(daemon);
        let daemon = Daemon::start(&[])?;
        for driver in &mut drivers {
            driver.ask("burst 100")?;
            let answer = driver.ask("alloc b DRAM 65536 4096")?;
            let snapshot = agrees(&daemon, &answer)?;
            let rows = running(&snapshot, driver.pid())
                .and_then(|process| process.usage.clone())
                .unwrap_or_default();
            // One hundred and one since, and not twice as many.
            assert_eq!(rows[0].allocations, Some(101), "in the order {order:?}");
            assert_eq!(rows[0].frees, Some(100), "in the order {order:?}");
        }
    }
    Ok(())
}

/// In a file system that is mounted nowhere but in the process's own namespace.
#[test]
fn in_another_mount_namespace() -> Result<()> {
    for layout in BOTH {
        let daemon = Daemon::start(&[])?;
        let (dir, _) = copy(layout)?;
        let inside = tempfile::tempdir()?;
        let script = format!(
            "mount -t tmpfs none {0} && cp {1}/* {0}/ && exec {0}/fixture",
            inside.path().display(),
            dir.path().display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]);
        let mut driver = Driver::spawn(command)?;
        driver.ask("report")?;
        ensure!(!inside.path().join("fixture").exists());
        acquainted(&daemon, driver.pid())?;
        let answer = driver.ask("alloc a DRAM 2097152 2048")?;
        let snapshot = agrees_from_start(&daemon, &answer)?;
        counts(running(&snapshot, driver.pid()).context("it")?, &answer)?;
        // And met there when it is there already.
        let second = Daemon::start(&[])?;
        agrees(&second, &answer)?;
    }
    Ok(())
}
