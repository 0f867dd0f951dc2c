//! The command of `run` has exactly what its caller has, whoever that is, and nothing of memmon's.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    fixture::{Fault, Fixture, Layout},
    memmon::Ward,
    people::{Open, open_directory},
    rights::{OBSERVING, list},
};

/// All that the kernel says about a process that depends on who started it.
const SAY: &str = "\
    grep -vE '^(Pid|Tgid|Ngid|PPid|TracerPid|NStgid|NSpid|Vm|Rss|Threads|SigQ|voluntary|nonvoluntary|HugetlbPages|Name|State)' /proc/self/status | grep -v '^untag'; \
    cat /proc/self/limits /proc/self/personality /proc/self/oom_score_adj /proc/self/cgroup /proc/self/timerslack_ns; echo; \
    cut -d' ' -f5-8,18,19,40,41 /proc/self/stat; \
    for n in user pid net mnt uts ipc; do readlink /proc/self/ns/$n; done; \
    ls /proc/$$/fd; readlink /proc/$$/fd/*; \
    stat -c 'looked into by %U' /proc/self/; setpriv --dump; env | grep -vE '^(_|SHLVL)=' | sort; pwd; umask; id";

/// The same command, started by this launcher directly and through `run`.
fn compare(what: &str, launcher: &[&str], observed: bool) -> Result<String> {
    let open = Open::new(&Fixture::get(Layout::Pimpl, Fault::None)?)?;
    let said = open_directory()?;
    fs::set_permissions(said.path(), fs::Permissions::from_mode(0o777))?;
    let mut texts = Vec::new();
    for through in [&[][..], &["run", "--"]] {
        let file = said.path().join("said");
        let mut command = Command::new(launcher.first().copied().unwrap_or("env"));
        command.args(launcher.iter().skip(1));
        if !through.is_empty() {
            command.arg(open.program()).args(through);
        }
        command
            .args(["sh", "-c"])
            .arg(format!("{{ {SAY}; }} > $0 2>&1; exit 3"))
            .arg(&file);
        let output = command.current_dir("/").stdin(Stdio::null()).output()?;
        assert_eq!(output.status.code(), Some(3), "{what}: {output:?}");
        if !through.is_empty() && observed {
            ensure!(
                String::from_utf8_lossy(&output.stderr).contains("health:"),
                "{output:?}"
            );
        }
        // Pipes and the like have numbers, which are other ones each time.
        let text = fs::read_to_string(&file)?;
        fs::remove_file(&file)?;
        texts.push(text.lines().map(nameless).collect::<Vec<_>>().join("\n"));
    }
    let through = texts.pop().context("two")?;
    let directly = texts.pop().context("two")?;
    ensure!(
        directly.contains("CapBnd") && directly.contains("Max locked memory"),
        "{directly}"
    );
    for (line, plain) in through.lines().zip(directly.lines()) {
        assert_eq!(line, plain, "{what}");
    }
    assert_eq!(through, directly, "{what}");
    Ok(directly)
}

fn nameless(line: &str) -> String {
    match line.split_once(":[") {
        Some((kind @ ("pipe" | "socket"), _)) => kind.to_owned(),
        _ => line.to_owned(),
    }
}

#[test]
fn as_root() -> Result<()> {
    let said = compare("root", &[], true)?;
    ensure!(said.contains("NoNewPrivs:\t0"), "{said}");
    Ok(())
}

/// What is left of root in a container, with a capability that is handed down.
#[test]
fn as_root_with_less() -> Result<()> {
    let rights: Vec<&str> = OBSERVING.into_iter().chain(["KILL", "CHOWN"]).collect();
    let bounding = format!("--bounding-set={}", list(&rights));
    let inherited = format!("--inh-caps={}", list(&["KILL", "SYS_PTRACE"]));
    let ambient = format!("--ambient-caps={}", list(&["KILL"]));
    let said = compare("less", &["setpriv", &bounding, &inherited, &ambient], true)?;
    ensure!(said.contains("CapAmb:\t0000000000000020"), "{said}");
    Ok(())
}

/// An ordinary user with just the rights that it takes.
#[test]
fn as_somebody_with_rights() -> Result<()> {
    let list = list(&OBSERVING);
    let (inherited, ambient) = (
        format!("--inh-caps={list}"),
        format!("--ambient-caps={list}"),
    );
    let user = ["--reuid=65534", "--regid=65534", "--groups=1,2"];
    let mut launcher = vec!["setpriv"];
    launcher.extend(user);
    launcher.extend([inherited.as_str(), &ambient]);
    let said = compare("somebody", &launcher, true)?;
    ensure!(said.contains("CapEff:\t000001c000080004"), "{said}");
    // Who may not look into it, where memmon itself may not be looked into.
    ensure!(said.contains("looked into by nobody"), "{said}");
    Ok(())
}

/// Whatever else a caller may have set: limits, signals that are blocked or ignored, descriptors that are
/// closed, priorities, securebits, no new privileges.
#[test]
fn as_a_caller_with_habits() -> Result<()> {
    let said = compare(
        "habits",
        &[
            "prlimit",
            "--nofile=200:300",
            "--memlock=65536:131072",
            "--core=0:0",
            "--",
            "env",
            "--ignore-signal=PIPE,USR2",
            "--block-signal=USR1,WINCH,PIPE",
            "FOO=bar",
            "nice",
            "-n",
            "5",
            "sh",
            "-c",
            "umask 027; echo 77 > /proc/self/oom_score_adj; exec 7</etc/passwd 0<&-; exec \"$0\" \"$@\"",
            "setpriv",
            "--securebits=+noroot_locked",
            "--no-new-privs",
        ],
        true,
    )?;
    for words in ["1800\nSigCgt", "NoNewPrivs:\t1", "FOO=bar", "0027"] {
        ensure!(said.contains(words), "{words}: {said}");
    }
    Ok(())
}

/// A command that has become another user is sent what memmon is sent.
#[test]
fn signals_reach_a_command_that_became_another_user() -> Result<()> {
    let directory = open_directory()?;
    nix::unistd::chown(directory.path(), Some(65534.into()), None)?;
    let flag = directory.path().join("ready");
    let script = format!(
        "trap 'exit 42' TERM; : > {}; while :; do sleep 0.05; done",
        flag.display()
    );
    let child = memmon_tests::memmon::command(["run", "--", "setpriv", "--reuid=65534"])
        .args(["sh", "-c", &script])
        .stderr(Stdio::null())
        .spawn()?;
    let child = Ward(child);
    let until = Instant::now() + Duration::from_secs(30);
    while !flag.exists() {
        ensure!(Instant::now() < until, "it did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.end()?.code(), Some(42));
    Ok(())
}
