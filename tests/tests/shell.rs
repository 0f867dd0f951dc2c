//! Completions in a real shell, and manual pages in a real formatter.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::memmon::{binary, run};

/// What an interactive bash runs when this is typed; `\t` is the Tab key.
fn typed(keys: &str) -> Result<String> {
    let completions = format!("source <({} completions bash)", binary().display());
    // In place of the program: what arrives is told.
    let told = "memmon-ebpf() { echo \"arrived<$*>\"; }";
    let mut bash = Command::new("script")
        .args([
            "--quiet",
            "--command",
            "bash --norc --noprofile -i",
            "/dev/null",
        ])
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("script: is it installed?")?;
    let mut input = bash.stdin.take().context("its input")?;
    write!(input, "{completions}; {told}\n{keys}\nexit\n")?;
    drop(input);
    let output = bash.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let arrived = text
        .rsplit_once("arrived<")
        .and_then(|(_, rest)| rest.split_once('>'))
        .with_context(|| format!("nothing arrived: {text}"))?;
    Ok(arrived.0.to_owned())
}

#[test]
fn tab_completes_in_bash() -> Result<()> {
    for (keys, arrived) in [
        ("memmon-ebpf --for\tcsv", "--format csv"),
        ("memmon-ebpf --format openm\t", "--format openmetrics"),
        ("memmon-ebpf doc\t--form\tjs\t", "doctor --format json"),
        (
            "memmon-ebpf profiles che\t--exp\t",
            "profiles check --explain",
        ),
    ] {
        let got = typed(keys)?;
        ensure!(got.trim_end() == arrived, "{keys:?} gives {got:?}");
    }
    Ok(())
}

#[test]
fn a_script_for_each_shell() -> Result<()> {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell])?;
        ensure!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout)?;
        for word in ["memmon-ebpf", "doctor", "format"] {
            ensure!(script.contains(word), "no {word} for {shell}");
        }
    }
    ensure!(run(&["completions", "cmd"])?.status.code() == Some(2));
    Ok(())
}

/// The page as a reader has it; the formatter has nothing to complain about.
fn formatted(page: &Path) -> Result<String> {
    let output = Command::new("groff")
        .args(["-ww", "-mandoc", "-Tascii", "-P-cbou"])
        .arg(page)
        .output()
        .context("groff: is it installed?")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(complaints.is_empty(), "{}: {complaints}", page.display());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Words that begin with two dashes.
fn options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.len() > 2 && word.starts_with("--"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_page_for_each_command() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let folder = directory.path().join("man");
    let output = run(&["man", "--output", &folder.display().to_string()])?;
    ensure!(output.status.success() && output.stdout.is_empty());
    let commands = [
        "",
        "run",
        "serve",
        "doctor",
        "profiles",
        "completions",
        "man",
    ];
    for command in commands {
        let mut words = vec![command, "--help"];
        words.retain(|word| !word.is_empty());
        let help = String::from_utf8(run(&words)?.stdout)?;
        let mut name = format!("memmon-ebpf-{command}");
        name.truncate(name.trim_end_matches('-').len());
        let page = formatted(&folder.join(format!("{name}.1")))?;
        ensure!(page.contains("User Commands") && page.contains(&name.to_uppercase()));
        // Aliases stand in the help only.
        let aliases = ["--single", "--once", "--devices"].map(str::to_owned);
        let missing: Vec<_> = options(&help)
            .into_iter()
            .filter(|option| !aliases.contains(option) && !page.contains(option.as_str()))
            .collect();
        ensure!(missing.is_empty(), "{name} lacks {missing:?}: {page}");
        ensure!(!page.contains("assume-kernel"), "what is hidden: {page}");
    }
    // Every option says what it is for, those of the short help and those beyond it.
    let page = formatted(&folder.join("memmon-ebpf.1"))?;
    ensure!(
        page.contains("Live allocations that can be remembered"),
        "{page}"
    );
    // Without a folder the first page goes to standard output.
    let printed = run(&["man"])?.stdout;
    ensure!(printed == fs::read(folder.join("memmon-ebpf.1"))?);
    Ok(())
}

#[test]
fn no_folder_to_write_to() -> Result<()> {
    let output = run(&["man", "--output", "/proc/nowhere"])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(
        text.contains("/proc/nowhere") && text.contains("--output"),
        "{text}"
    );
    Ok(())
}
