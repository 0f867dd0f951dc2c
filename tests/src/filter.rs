//! The system calls that a unit of systemd's allows, as a filter for a program.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result, ensure};
use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::json;

/// What the unit's `SystemCallFilter=` lines leave: the first one says which calls are allowed, and those
/// that follow add to them or, behind a `~`, take from them (systemd.exec(5)).
pub fn allowed(unit: &str) -> Result<BTreeSet<String>> {
    let mut allowed = BTreeSet::new();
    for line in unit.lines() {
        let Some(value) = line.strip_prefix("SystemCallFilter=") else {
            continue;
        };
        let (words, take) = match value.strip_prefix('~') {
            Some(words) => (words, true),
            None => (value, false),
        };
        for word in words.split_whitespace() {
            for name in calls(word)? {
                match take {
                    true => allowed.remove(&name),
                    false => allowed.insert(name),
                };
            }
        }
    }
    // systemd's own, whatever a unit says.
    allowed.extend(calls("@default")?);
    Ok(allowed)
}

/// A call, or those of a group and the groups in it.
fn calls(word: &str) -> Result<Vec<String>> {
    if !word.starts_with('@') {
        return Ok(vec![word.to_owned()]);
    }
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", word])
        .output()
        .context("systemd-analyze (Debian: systemd)")?;
    ensure!(output.status.success(), "{output:?}");
    let mut all = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let name = line.trim();
        if line.starts_with(' ') && !name.starts_with('#') {
            all.extend(calls(name)?);
        }
    }
    Ok(all)
}

/// Everything else fails, as `SystemCallErrorNumber=EPERM` has it.
pub fn program(allowed: &BTreeSet<String>) -> Result<BpfProgram> {
    let compile = |names: &[&String]| {
        let rules: Vec<_> = names.iter().map(|name| json!({"syscall": name})).collect();
        let filter = json!({"unit": {"mismatch_action": {"errno": libc::EPERM}, "match_action": "allow", "filter": rules}});
        compile_from_json(filter.to_string().as_bytes(), TargetArch::x86_64)
    };
    // Some are other architectures'.
    let known: Vec<&String> = allowed
        .iter()
        .filter(|name| compile(&[name]).is_ok())
        .collect();
    ensure!(known.len() > 100, "{known:?}");
    compile(&known)?.remove("unit").context("no filter")
}
