//! Nobody is the worse for being observed: who throws through probed functions, who is confined by
//! seccomp, memmon itself; nothing is written into anybody; and memmon killed takes its probes along.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::FileExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    c::{cc, source},
    check::{agrees, running},
    fixture::{Driver, Fault, Fixture, Layout},
    memmon::{Daemon, Ward, binary, process, query},
};

fn profile(name: &str) -> String {
    source(&format!("profiles/{name}"))
}

/// In C, or in C++ by its name.
fn compile(dir: &Path, args: &[&str]) -> Result<()> {
    let own: Vec<String> = args
        .iter()
        .map(|arg| match arg.rsplit_once('.') {
            Some((_, "c" | "cpp")) => source(arg),
            _ => (*arg).to_owned(),
        })
        .collect();
    let mut args = vec!["-O1", "-g0", "-fPIC", "-fno-shrink-wrap", "-pthread"];
    args.extend(own.iter().map(String::as_str));
    cc(dir, &args)
}

/// Where the process's copy of a function begins.
fn address_of(pid: u32, library: &str, symbol: &str) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let line = maps
        .lines()
        .find(|line| line.ends_with(library))
        .context("not mapped")?;
    let base = u64::from_str_radix(line.split('-').next().context("a range")?, 16)?;
    let path = line.split_whitespace().last().context("a path")?;
    let output = Command::new("nm").args(["-D", path]).output()?;
    let symbols = String::from_utf8(output.stdout)?;
    let line = symbols
        .lines()
        .find(|line| line.ends_with(&format!(" T {symbol}")))
        .context("no such symbol")?;
    Ok(base + u64::from_str_radix(line.split(' ').next().context("a value")?, 16)?)
}

/// The beginning of a function, as it is in the process.
fn code_at(pid: u32, address: u64) -> Result<[u8; 16]> {
    let mut code = [0; 16];
    fs::File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut code, address)?;
    Ok(code)
}

#[test]
fn exceptions_pass_through_probed_functions() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let lib = [
        "-shared",
        "-Wl,-soname,libthrower.so",
        "-o",
        "libthrower.so",
        "unharmed/thrower.cpp",
        "-lstdc++",
    ];
    compile(dir.path(), &lib)?;
    let program = [
        "-o",
        "throws",
        "unharmed/throws.cpp",
        "./libthrower.so",
        "-lstdc++",
        "-Wl,-rpath,$ORIGIN",
    ];
    compile(dir.path(), &program)?;
    let play = |how: &str| -> Result<Output> {
        Ok(Command::new(dir.path().join("throws")).arg(how).output()?)
    };
    let ways = ["", "never", "uncaught"];
    let before: Vec<Output> = ways.iter().map(|how| play(how)).collect::<Result<_>>()?;
    assert_eq!(before[0].status.code(), Some(5));
    assert_eq!(before[1].status.signal(), Some(libc::SIGABRT));
    assert_eq!(before[2].status.signal(), Some(libc::SIGABRT));
    let daemon = Daemon::start(&[
        "--runtime",
        "thrower",
        "--profile",
        &profile("thrower.toml"),
    ])?;
    // The first makes the library known.
    play("")?;
    daemon.wait_for("the library", |snapshot| {
        (snapshot.libraries.first()?.probes == 5).then_some(())
    })?;
    let events = daemon.snapshot()?.health.events;
    for (how, before) in ways.iter().zip(&before) {
        let after = play(how)?;
        assert_eq!(after.status, before.status, "{how}");
        assert_eq!(after.stdout, before.stdout, "{how}");
        assert_eq!(after.stderr, before.stderr, "{how}");
    }
    let seen = daemon.snapshot()?.health.events - events;
    println!("{seen} events of functions that throw");
    ensure!(seen > 3 * 4 * 500 * 4, "{seen}");
    Ok(())
}

/// One that waits for a byte before it confines itself.
fn confined(dir: &Path, how: &[&str]) -> Result<Child> {
    let mut child = Command::new(dir.join("confined"))
        .args(how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = [0];
    child
        .stdout
        .as_mut()
        .context("stdout")?
        .read_exact(&mut ready)?;
    Ok(child)
}

/// Every daemon with the profile of the C library places probes in all of its copies: who looks at the code of one has no
/// other beside it.
static C_LIBRARY: Mutex<()> = Mutex::new(());

/// Entry and return probes in processes that may do nothing but read, write and end; on the whole
/// with memmon there first, coming while they are confined, and gone in between.
#[test]
fn confined_by_seccomp() -> Result<()> {
    let _alone = C_LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir()?;
    let lib = [
        "-shared",
        "-Wl,-soname,libdev.so.1",
        "-o",
        "libdev.so.1",
        "c-api/dev.c",
    ];
    compile(dir.path(), &lib)?;
    let program = [
        "-o",
        "confined",
        "unharmed/confined.c",
        "./libdev.so.1",
        "-Wl,-rpath,$ORIGIN",
    ];
    compile(dir.path(), &program)?;
    let arguments = ["--runtime", "c-api", "--profile", &profile("c-api.toml")];
    for how in [&[][..], &["strict"], &["filter"]] {
        let mut children = [confined(dir.path(), how)?, confined(dir.path(), how)?];
        let mut rounds = |count: usize| -> Result<()> {
            for child in &mut children {
                for _ in 0..count {
                    child.stdin.as_mut().context("stdin")?.write_all(b"g")?;
                    let mut done = [0];
                    let answer = child
                        .stdout
                        .as_mut()
                        .context("stdout")?
                        .read_exact(&mut done);
                    answer.with_context(|| format!("{how:?}: {:?}", child.try_wait()))?;
                }
            }
            Ok(())
        };
        rounds(1)?;
        for _ in 0..2 {
            let daemon = Daemon::start(&arguments)?;
            rounds(100)?;
            let snapshot = daemon.snapshot()?;
            let problem = snapshot
                .libraries
                .first()
                .and_then(|it| it.problem.as_ref());
            ensure!(problem.is_none(), "{problem:?}");
            let events = snapshot.health.events;
            ensure!(events >= 2 * 100 * 20, "{events}");
            println!("{how:?}: {events} events");
            drop(daemon);
            rounds(10)?;
        }
        for child in &mut children {
            drop(child.stdin.take());
            assert_eq!(child.wait()?.code(), Some(7), "{how:?}");
        }
    }
    // Where the kernel's return probes would end them, there are none.
    let mut child = confined(dir.path(), &["filter"])?;
    let mut old = arguments.to_vec();
    old.extend(["--assume-kernel", "6.12.5"]);
    let daemon = Daemon::start(&old)?;
    let snapshot = daemon.snapshot()?;
    let library = snapshot.libraries.first().context("no library")?;
    assert_eq!(library.probes, 0);
    let problem = library.problem.as_deref().unwrap_or_default();
    ensure!(problem.contains("seccomp"), "{problem}");
    ensure!(
        process(&snapshot, child.id())
            .context("it")?
            .usage
            .is_none()
    );
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

/// A profile of the very allocator that memmon uses: what memmon does in order to look is not seen.
#[test]
fn memmon_does_not_observe_itself() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let lib = [
        "-shared",
        "-fno-builtin",
        "-o",
        "libfeed.so",
        "unharmed/feed.c",
    ];
    compile(dir.path(), &lib)?;
    let feed = dir.path().join("libfeed.so");
    let arguments = ["--runtime", "feed", "--profile", &profile("feed.toml")];
    // Another that uses it is counted.
    let mut shell = Command::new("sh")
        .env("LD_PRELOAD", &feed)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let preload = |command: &mut Command| {
        command.env("LD_PRELOAD", &feed);
    };
    let daemon = Daemon::start_in(tempfile::tempdir()?, preload, &arguments)?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.pid()))?;
    ensure!(
        maps.contains("libfeed.so"),
        "a static program: nothing to see here"
    );
    let socket = daemon.socket();
    let client = Command::new(binary())
        .env("LD_PRELOAD", &feed)
        .arg("--socket")
        .arg(&socket)
        .args(["-r", "100", "--format", "json"])
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .spawn()?;
    let client = Ward(client);
    std::thread::sleep(Duration::from_millis(500));
    let before = daemon.snapshot()?.health.events;
    for _ in 0..20 {
        daemon.snapshot()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let snapshot = daemon.snapshot()?;
    assert_eq!(snapshot.health.events, before, "of its own");
    for own in [daemon.pid(), client.0.id()] {
        ensure!(
            process(&snapshot, own).is_none(),
            "{own} is shown: {snapshot:#?}"
        );
    }
    writeln!(
        shell.stdin.as_mut().context("stdin")?,
        "for i in 1 2 3 4 5 6 7 8 9; do x=$x$i; eval echo $x; done"
    )?;
    let pid = shell.id();
    daemon.wait_for("what another does", |snapshot| {
        let process = running(snapshot, pid)?;
        let row = process.usage.as_ref()?.first()?;
        (row.allocations > Some(10) && snapshot.health.events > before).then_some(())
    })?;
    drop(shell.stdin.take());
    shell.wait()?;
    Ok(())
}

/// Every file that memmon opens, by the system calls that it makes: of other processes it opens
/// memory and all else for reading only, and it never traces or writes to one.
#[test]
fn nothing_is_written_into_a_target() -> Result<()> {
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    driver.ask("leak 20 8192")?;
    let directory = tempfile::tempdir()?;
    let logs = [
        directory.path().join("query"),
        directory.path().join("daemon"),
    ];
    let strace = |log: &Path| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-D", "-y", "-o"]).arg(log).args([
            "-e",
            "trace=open,openat,openat2,creat,ptrace,process_vm_writev,process_vm_readv,process_madvise,kill,tgkill,tkill,pidfd_send_signal,pidfd_getfd,setns",
        ]);
        command
    };
    let status = strace(&logs[0])
        .arg(binary())
        .args(["-q", "-p", &driver.pid().to_string()])
        .stdout(Stdio::null())
        .status()
        .context("strace is needed for this test")?;
    ensure!(status.success());
    let daemon = Daemon::start_by(tempfile::tempdir()?, &mut strace(&logs[1]), &[])?;
    for step in [
        "leak 3 8192",
        "oom",
        "threads 3 2 count 200 keep 7",
        "reopen",
        "leak 2 8192",
    ] {
        let answer = driver.ask(step)?;
        agrees(&daemon, &answer)?;
    }
    drop(Fixture::get(Layout::Inline, Fault::None)?.spawn()?);
    drop(daemon);
    for log in logs {
        let text = fs::read_to_string(&log)?;
        let mut memory = 0;
        for line in text.lines().filter(|line| is_call(line)) {
            let call = line.split_whitespace().nth(1).unwrap_or_default();
            ensure!(call.starts_with("open"), "{line}");
            let foreign = line.contains("\"/proc/") && !line.contains("\"/proc/self/");
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"]
                .iter()
                .any(|way| line.contains(way));
            ensure!(!(foreign && writes), "{line}");
            memory += usize::from(foreign && line.contains("/mem\""));
        }
        println!(
            "{}: {} files, {memory} times memory",
            log.display(),
            text.lines().count()
        );
        ensure!(memory > 0, "{text}");
    }
    Ok(())
}

/// Not the end of a call, a signal that it was sent, its end, or that strace let go of it in the middle of a call of another
/// kind.
fn is_call(line: &str) -> bool {
    ![" resumed>", " --- ", " +++ ", " ???( <detached"]
        .iter()
        .any(|other| line.contains(other))
}

/// `kill -9` in the middle of everything: the breakpoints are gone, the programs go on, and the next
/// memmon finds the same totals.
#[test]
fn killed_it_takes_its_probes_along() -> Result<()> {
    let _alone = C_LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir()?;
    let lib = [
        "-shared",
        "-Wl,-soname,libdev.so.1",
        "-o",
        "libdev.so.1",
        "c-api/dev.c",
    ];
    compile(dir.path(), &lib)?;
    let program = [
        "-o",
        "confined",
        "unharmed/confined.c",
        "./libdev.so.1",
        "-Wl,-rpath,$ORIGIN",
    ];
    compile(dir.path(), &program)?;
    let mut child = confined(dir.path(), &[])?;
    let place = address_of(child.id(), "libdev.so.1", "dev_free")?;
    let before = code_at(child.id(), place)?;
    let mut driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    driver.ask("leak 20 8192")?;
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let daemon = Daemon::start(&["--profile", &profile("c-api.toml")])?;
        ensure!(
            code_at(child.id(), place)? != before,
            "no probe was placed: {:#?}",
            daemon.snapshot()?.libraries
        );
        driver.tell("threads 3 2 count 10000 keep 50")?;
        daemon.kill()?;
        let start = Instant::now();
        while code_at(child.id(), place)? != before {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "its probes are still there"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        slowest = slowest.max(start.elapsed());
        let answer = driver.answer()?;
        assert_eq!(answer["ok"], true, "{answer}");
        let snapshot = query(&["-p", &driver.pid().to_string()])?;
        memmon_tests::check::holds(running(&snapshot, driver.pid()).context("it")?, &answer)?;
        let again = Daemon::start(&[])?;
        agrees(&again, &answer)?;
        agrees(&again, &driver.ask("oom")?)?;
    }
    println!("the probes were gone within {slowest:?}");
    child.stdin.as_mut().context("stdin")?.write_all(b"gg")?;
    drop(child.stdin.take());
    assert_eq!(child.wait()?.code(), Some(7));
    ensure!(driver.finish()?.success());
    Ok(())
}

/// In a time namespace, whose clocks are others than the kernel's programs see.
#[test]
fn in_another_time_namespace() -> Result<()> {
    let mut driver: Driver = Fixture::get(Layout::Pimpl, Fault::None)?.spawn()?;
    driver.ask("leak 3 8192")?;
    let mut launcher = Command::new("unshare");
    launcher.args(["--time", "--boottime", "864000"]);
    let daemon = Daemon::start_by(
        tempfile::tempdir()?,
        &mut launcher,
        &["-p", &driver.pid().to_string()],
    )?;
    let before = daemon.snapshot()?.taken_at;
    let answer = driver.ask("oom")?;
    let snapshot = agrees(&daemon, &answer)?;
    let failure = snapshot.failures.last().context("no failure")?;
    // All by the wall clock, in order, to the second.
    let second = |text: &str| text.get(..19).map(str::to_owned);
    let moments = [&before, &failure.at, &snapshot.taken_at].map(|at| second(at));
    ensure!(moments.is_sorted(), "{moments:?}");
    Ok(())
}
