//! `docs/add-your-runtime.md`, followed to the letter: its files are written, its commands typed, and what they print is
//! what stands there, but for what differs each time (process ids, times, the host, addresses of functions).

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::memmon::binary;

/// A fenced block of the page.
struct Block<'a> {
    language: &'a str,
    /// Of a file that is to be written.
    file: Option<&'a str>,
    lines: Vec<&'a str>,
    /// Where it begins in the page.
    at: usize,
}

fn blocks(page: &str) -> Result<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(""), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line),
            (Some(info), None) => {
                let mut words = info.split(' ');
                open = Some(Block {
                    language: words.next().unwrap_or_default(),
                    file: words.next(),
                    lines: Vec::new(),
                    at: number + 1,
                });
            }
            (Some(_), Some(_)) => anyhow::bail!("line {}: a block within a block", number + 1),
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "a block has no end");
    Ok(blocks)
}

/// A line without what differs each time, and without the widths of columns.
fn normalised(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let is_address = |word: &str| word.len() == 16 && word.chars().all(|c| c.is_ascii_hexdigit());
    match words.as_mut_slice() {
        // memmon 0.1.0 on HOST: command at TIME
        ["memmon", version, "on", host, .., time] => {
            (*version, *host, *time) = ("VERSION", "HOST", "TIME");
        }
        // PID USER acme:0 …
        [pid, user, device, ..] if device.starts_with("acme:") => {
            (*pid, *user) = ("PID", "USER");
        }
        [address, "T", _] if is_address(address) => *address = "ADDRESS",
        _ => {}
    }
    words.join(" ")
}

fn all_normalised<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<String> = lines.map(normalised).collect();
    lines.join("\n").trim_end().to_owned()
}

/// What comes before it in `PATH`: the program under test, and a `sudo` where this is root already.
fn tools(folder: &Path) -> Result<()> {
    symlink(
        binary().canonicalize().context("build it first")?,
        folder.join("memmon-ebpf"),
    )?;
    let sudo = folder.join("sudo");
    std::fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n")?;
    std::fs::set_permissions(&sudo, PermissionsExt::from_mode(0o755))?;
    Ok(())
}

#[test]
fn to_the_letter() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/add-your-runtime.md");
    let page = std::fs::read_to_string(page)?;
    let (tools_at, folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    tools(tools_at.path())?;
    let path = std::env::var("PATH")?;
    let path = format!("{}:{path}", tools_at.path().display());
    let (mut files, mut commands) = (0, 0);
    for block in blocks(&page)? {
        if let Some(file) = block.file {
            std::fs::write(folder.path().join(file), block.lines.join("\n") + "\n")?;
            files += 1;
            continue;
        }
        // A block that is neither would be one that nobody follows.
        ensure!(
            block.language == "console",
            "line {}: neither a file nor commands",
            block.at
        );
        let mut lines = block.lines.iter().copied().peekable();
        while let Some(line) = lines.next() {
            let command = line
                .strip_prefix("$ ")
                .with_context(|| format!("no command: {line:?}"))?;
            let mut expected = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                expected.push(line);
            }
            let output = Command::new("bash")
                .args(["-c", &format!("exec 2>&1\n{command}")])
                .current_dir(folder.path())
                .env("PATH", &path)
                .env("LC_ALL", "C.UTF-8")
                .output()?;
            let printed = String::from_utf8_lossy(&output.stdout);
            let (printed, expected) = (
                all_normalised(printed.lines()),
                all_normalised(expected.into_iter()),
            );
            ensure!(
                printed == expected,
                "line {}: `{command}` prints\n{printed}\n\nand not\n{expected}",
                block.at
            );
            commands += 1;
        }
    }
    ensure!(
        files >= 6 && commands >= 10,
        "{files} files, {commands} commands"
    );
    println!("{files} files written, {commands} commands typed");
    Ok(())
}
