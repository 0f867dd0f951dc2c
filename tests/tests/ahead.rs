//! `run -- COMMAND` observes a command from its first instruction on: the probes are there before it is, in all that
//! can be known beforehand of what it will map. The judge is what the program itself says.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::snapshot::{Process, Snapshot};
use memmon_tests::{
    c::{cc, source},
    memmon::command,
    optional::needs,
};

fn compile(folder: &Path, args: &[&str]) -> Result<()> {
    cc(folder, &[&["-I", &source("c-api")], args].concat())
}

/// A folder with the library in `lib`, where nobody has mapped it yet, and a program that finds it by `flags`.
fn yard(flags: &[&str]) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("lib"))?;
    let library = [
        "-shared",
        "-fPIC",
        "-Wl,-soname,libdev.so.1",
        "-o",
        "lib/libdev.so.1",
        &source("c-api/dev.c"),
    ];
    compile(folder.path(), &library)?;
    let program = ["-o", "program", &source("ahead/short.c")];
    let link: &[&str] = match flags {
        [] => &["lib/libdev.so.1"],
        flags => flags,
    };
    compile(folder.path(), &[&program, link].concat())?;
    Ok(folder)
}

const BY_RUNPATH: [&str; 2] = [
    "lib/libdev.so.1",
    "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib",
];

/// What the program says that it did: pid, live, allocations, frees, failed, bytes.
fn said(output: &[u8]) -> Result<[u64; 6]> {
    let text = str::from_utf8(output)?;
    let numbers: Vec<u64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    numbers
        .try_into()
        .map_err(|_| anyhow::anyhow!("it said {text:?}"))
}

struct Seen {
    snapshot: Snapshot,
    output: Output,
}

impl Seen {
    /// Runs `words` in `folder` as `run` does, with the profile of the library.
    fn of(
        folder: &Path,
        profiles: &[&str],
        set: impl FnOnce(&mut Command),
        words: &[&str],
    ) -> Result<Self> {
        let out = folder.join("seen.json");
        let mut run = command(["run", "--format", "json", "-o"]);
        run.arg(&out).current_dir(folder).stdin(Stdio::null());
        for profile in profiles {
            run.args(["--profile", profile]);
        }
        set(&mut run);
        let output = run.arg("--").args(words).output()?;
        ensure!(
            output.status.success(),
            "{words:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let snapshot = serde_json::from_slice(&fs::read(&out)?)?;
        Ok(Self { snapshot, output })
    }

    fn process(&self, pid: u64) -> Result<&Process> {
        let mut all = self.snapshot.processes.iter();
        all.find(|process| u64::from(process.pid) == pid)
            .with_context(|| format!("no process {pid}: {:?}", self.snapshot))
    }

    /// Everything is as the program says, and nothing is in doubt.
    fn is_whole(&self) -> Result<()> {
        is_whole(&self.snapshot, &said(&self.output.stdout)?)?;
        ensure!(self.snapshot.health.unknown_frees == 0);
        Ok(())
    }
}

fn is_whole(snapshot: &Snapshot, said: &[u64; 6]) -> Result<()> {
    let [pid, live, allocations, frees, failed, bytes] = *said;
    let [process] = &snapshot.processes[..] else {
        anyhow::bail!("one process: {:?}", snapshot.processes);
    };
    assert_eq!(u64::from(process.pid), pid);
    let [row] = process.usage.as_deref().context("its usage")? else {
        anyhow::bail!("one row: {process:?}");
    };
    let seen = [
        row.live_allocations,
        row.allocations,
        row.frees,
        row.failed_allocations,
        row.charged_bytes,
    ];
    assert_eq!(seen, [live, allocations, frees, failed, bytes].map(Some));
    ensure!(
        process.since == "start" && process.state == "exited" && row.exact,
        "{process:?}"
    );
    assert_eq!(snapshot.health.inexact_rows, 0);
    Ok(())
}

/// It is over within a millisecond: ten times out of ten, nothing of it is missed.
fn a_short_program_is_seen_whole() -> Result<()> {
    let folder = yard(&BY_RUNPATH)?;
    let profile = source("profiles/c-api.toml");
    for _ in 0..10 {
        let seen = Seen::of(folder.path(), &[&profile], |_| {}, &["./program"])?;
        seen.is_whole()?;
        let libraries: Vec<_> = seen
            .snapshot
            .libraries
            .iter()
            .map(|library| library.path.as_str())
            .collect();
        ensure!(
            matches!(libraries[..], [path] if path.ends_with("lib/libdev.so.1")),
            "only what was used: {libraries:?}"
        );
    }
    Ok(())
}

/// Wherever the library is found by, and whoever starts the program as far as the command line tells.
fn however_it_is_found() -> Result<()> {
    let profile = source("profiles/c-api.toml");
    let linked = yard(&BY_RUNPATH)?;
    let script = linked.path().join("script");
    let interpreter = linked.path().join("program");
    fs::write(&script, format!("#!{}\n", interpreter.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    fs::write(linked.path().join("by-name"), "#!/usr/bin/env program\n")?;
    fs::set_permissions(
        linked.path().join("by-name"),
        fs::Permissions::from_mode(0o755),
    )?;
    let in_path = |run: &mut Command| {
        let path = std::env::var("PATH").unwrap_or_default();
        run.env("PATH", format!("{}:{path}", linked.path().display()));
    };
    let ways: [(&[&str], bool); 6] = [
        (&["program"], true),
        (&["./script"], false),
        (&["by-name"], true),
        (&["env", "-u", "NOTHING", "A=1", "./program"], false),
        (&["timeout", "30", "./program"], false),
        (&["nice", "env", "program"], true),
    ];
    for (words, by_path) in ways {
        let set = |run: &mut Command| {
            if by_path {
                in_path(run);
            }
        };
        let seen = Seen::of(linked.path(), &[&profile], set, words)?;
        seen.is_whole().with_context(|| format!("{words:?}"))?;
    }

    let old = yard(&[
        "lib/libdev.so.1",
        "-Wl,--disable-new-dtags,-rpath,${ORIGIN}/lib",
    ])?;
    Seen::of(old.path(), &[&profile], |_| {}, &["./program"])?.is_whole()?;

    let bare = yard(&[])?;
    let place = bare.path().join("lib");
    let in_environment = |run: &mut Command| {
        run.env("LD_LIBRARY_PATH", &place);
    };
    Seen::of(bare.path(), &[&profile], in_environment, &["./program"])?.is_whole()?;

    let preload = place.join("libdev.so.1");
    let preloaded = |run: &mut Command| {
        run.env("LD_PRELOAD", &preload);
    };
    Seen::of(bare.path(), &[&profile], preloaded, &["./program"])?.is_whole()?;
    Ok(())
}

/// A runtime that is part of the program itself.
fn a_static_runtime() -> Result<()> {
    let folder = yard(&[&source("c-api/dev.c")])?;
    let profile = fs::read_to_string(source("profiles/c-api.toml"))?;
    let own = folder.path().join("own.toml");
    fs::write(&own, profile.replace("libdev.so*", "program"))?;
    let own = own.to_str().context("a plain path")?;
    for _ in 0..3 {
        Seen::of(folder.path(), &[own], |_| {}, &["./program"])?.is_whole()?;
    }
    Ok(())
}

fn a_recording_of_it_is_whole() -> Result<()> {
    let folder = yard(&BY_RUNPATH)?;
    let profile = source("profiles/c-api.toml");
    let recording = folder.path().join("run.rec");
    let output = command(["record", "--profile", &profile, "-o"])
        .arg(&recording)
        .args(["--", "./program"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let replayed = command(["replay", "--at", "end", "--format", "json"])
        .arg(&recording)
        .output()?;
    ensure!(replayed.status.success(), "{replayed:?}");
    let snapshot = serde_json::from_slice(&replayed.stdout)?;
    is_whole(&snapshot, &said(&output.stdout)?)
}

/// What a shell will start nobody can know. Where its beginning may have been missed, that is said.
fn what_cannot_be_known_is_said() -> Result<()> {
    let folder = yard(&BY_RUNPATH)?;
    let profile = source("profiles/c-api.toml");
    for _ in 0..3 {
        let seen = Seen::of(
            folder.path(),
            &[&profile],
            |_| {},
            &["sh", "-c", "./program; ./program"],
        )?;
        for process in &seen.snapshot.processes {
            let rows = process.usage.iter().flatten();
            let all = rows.clone().all(|row| row.allocations == Some(100));
            let exact = rows.clone().any(|row| row.exact);
            ensure!(all || (process.since == "attach" && !exact), "{process:?}");
        }
    }
    Ok(())
}

/// A program that is linked with one runtime and opens another one by a path of its own: of the one all is known, of the
/// other that something may be missing, and neither is taken for the other.
fn one_runtime_in_time_and_one_too_late() -> Result<()> {
    let folder = yard(&BY_RUNPATH)?;
    let here = folder.path();
    let program = ["-o", "opens", &source("ahead/opens.c"), "-ldl"];
    compile(here, &[&program[..], &BY_RUNPATH[..]].concat())?;
    let library = [
        "-shared",
        "-fPIC",
        "-o",
        "liblate.so",
        &source("c-api/dev.c"),
    ];
    compile(here, &library)?;
    let profile = source("profiles/c-api.toml");
    let late = here.join("late.toml");
    let text = fs::read_to_string(&profile)?;
    let text = text.replace("\"c-api\"", "\"late\"");
    fs::write(&late, text.replace("libdev", "liblate"))?;
    let late = late.to_str().context("a plain path")?;
    for _ in 0..5 {
        let set = |run: &mut Command| {
            run.env("LATE", "./liblate.so");
        };
        let seen = Seen::of(here, &[&profile, late], set, &["./opens"])?;
        let [process] = &seen.snapshot.processes[..] else {
            anyhow::bail!("one process: {:?}", seen.snapshot.processes);
        };
        for row in process.usage.as_ref().context("its usage")? {
            match row.runtime.as_str() {
                "c-api" => {
                    assert_eq!(row.allocations, Some(10));
                    ensure!(row.exact, "{process:?}");
                }
                _ => ensure!(!row.exact && process.since == "attach", "{process:?}"),
            }
        }
    }
    Ok(())
}

/// OpenCL's loader, which the program opens by itself, and the implementation behind it: nobody has them open, and all
/// that the program allocates is seen.
fn opencl_from_its_first_call_on() -> Result<()> {
    const LOADER: &str = "/usr/lib/x86_64-linux-gnu/libOpenCL.so.1";
    const NEEDED: [&str; 3] = [
        LOADER,
        "/usr/lib/x86_64-linux-gnu/libpocl.so.2",
        "/usr/include/CL/cl_icd.h",
    ];
    NEEDED.iter().try_for_each(|file| needs(Path::new(file)))?;
    let folder = tempfile::tempdir()?;
    let workload = [
        "-Wno-deprecated-declarations",
        "-o",
        "workload",
        &source("opencl/workload.c"),
    ];
    compile(folder.path(), &workload)?;
    let out = folder.path().join("seen.json");
    let mut run = command(["run", "--format", "json", "-o"]);
    run.arg(&out)
        .args(["--", "./workload", LOADER, "Portable Computing"]);
    let go_on = folder.path().join("go-on");
    fs::write(&go_on, "\n\n\n")?;
    let output = run
        .current_dir(folder.path())
        .stdin(fs::File::open(&go_on)?)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let last = str::from_utf8(&output.stdout)?
        .lines()
        .last()
        .unwrap_or_default();
    let said: serde_json::Value = serde_json::from_str(last)?;
    assert_eq!(said["step"], "allocated");
    let snapshot: Snapshot = serde_json::from_slice(&fs::read(&out)?)?;
    let seen = Seen { snapshot, output };
    let process = seen.process(said["pid"].as_u64().context("its pid")?)?;
    assert_eq!(process.since, "start");
    let rows = process.usage.as_ref().context("its usage")?;
    ensure!(rows.iter().all(|row| row.exact), "{rows:?}");
    let mut checked = 0;
    for (name, pool) in said["pools"].as_object().context("pools")? {
        let (runtime, name) = match name.strip_prefix("USM_") {
            Some(name) => ("opencl-usm", name),
            None => ("opencl", name.as_str()),
        };
        let count = |what: &str| pool[what].as_u64().context("a count");
        let expected = [count("allocations")?, count("frees")?, count("failed")?];
        let row = rows
            .iter()
            .find(|row| row.runtime == runtime && row.pool == name);
        let seen = match row {
            Some(row) => [row.allocations, row.frees, row.failed_allocations],
            None => [Some(0); 3],
        };
        assert_eq!(seen, expected.map(Some), "{runtime} {name}");
        checked += expected[0];
    }
    ensure!(checked > 100, "{checked} allocations");
    println!("pocl: {checked} allocations, all seen");
    Ok(())
}

/// Each child takes a place in the list of who is observed, and gives it back, whether it used a runtime or not: the last
/// of many is observed like the first.
fn the_last_of_many_children() -> Result<()> {
    let folder = yard(&BY_RUNPATH)?;
    let profile = source("profiles/c-api.toml");
    let few_places = |run: &mut Command| {
        run.args(["--map-entries", "SCOPE=48"]);
    };
    let script = "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done; \"$0\"; true";
    let words = ["sh", "-c", script, "./program"];
    Seen::of(folder.path(), &[&profile], few_places, &words)?.is_whole()
}

/// Whatever is looked for beforehand, what is not there is the same error as ever.
fn commands_that_are_not_there() -> Result<()> {
    for (word, code) in [
        ("./none", 127),
        ("none-of-this-name", 127),
        ("/etc", 126),
        ("", 127),
    ] {
        let output = command(["run", "--", word]).output()?;
        assert_eq!(output.status.code(), Some(code), "{word}: {output:?}");
    }
    Ok(())
}

memmon_tests::cases![
    a_short_program_is_seen_whole,
    however_it_is_found,
    a_static_runtime,
    a_recording_of_it_is_whole,
    what_cannot_be_known_is_said,
    one_runtime_in_time_and_one_too_late,
    opencl_from_its_first_call_on,
    the_last_of_many_children,
    commands_that_are_not_there,
];
