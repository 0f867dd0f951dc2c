//! `memmon-ebpf profiles`: what is known, and how far it can be trusted, for people and for programs.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use memmon_tests::memmon::run;
use serde_json::Value;

fn text(args: &[&str]) -> Result<String> {
    let output = run(args)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn every_runtime_with_its_status() -> Result<()> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/jax-cpu.toml");
    let own = own.display().to_string();
    let table = text(&["profiles", "--profile", &own])?;
    let list: Value =
        serde_json::from_str(&text(&["profiles", "--profile", &own, "--format", "json"])?)?;
    assert_eq!(list["schema"], "memmon.profiles/1");
    let profiles = list["profiles"].as_array().context("profiles")?;
    ensure!(profiles.len() > 5, "{}", profiles.len());
    let (rows, _) = table.split_once("\n\n").context("one table")?;
    let rows: Vec<&str> = rows.lines().collect();
    let [head, rows @ ..] = rows.as_slice() else {
        anyhow::bail!("no table: {table}");
    };
    ensure!(head.starts_with("RUNTIME") && rows.len() == profiles.len());
    for (row, profile) in rows.iter().zip(profiles) {
        let word = |field: &str| profile[field].as_str().context("a text");
        let (name, family, status) = (word("name")?, word("family")?, word("status")?);
        // Columns lie under one another, the runtime's name first.
        let at = |title: &str| head.find(title).context("a column");
        ensure!(row.starts_with(&format!("{name} ")), "{row}");
        ensure!(row[at("FAMILY")?..].starts_with(family), "{row}");
        ensure!(row[at("STATUS")?..].starts_with(status), "{row}");
        ensure!(row[at("LAYER")?..].starts_with(&profile["layer"].to_string()));
        let on_demand = row[at("LOOKED FOR")?..].starts_with(&format!("with --runtime {name}"));
        ensure!(profile["opt_in"] == on_demand, "{row}");
        for library in profile["libraries"].as_array().context("libraries")? {
            for pattern in library["names"].as_array().context("names")? {
                ensure!(row.contains(pattern.as_str().context("a name")?), "{row}");
            }
        }
        for pool in profile["pools"].as_array().context("pools")? {
            ensure!(
                row.contains(pool["name"].as_str().context("a name")?),
                "{row}"
            );
        }
        ensure!(table.contains(word("tested")?), "{name}");
        let built_in = profile["built_in"].as_bool().context("built_in")?;
        assert_eq!(built_in, name != "jax-cpu");
    }
    let opt_in: Vec<_> = profiles
        .iter()
        .filter(|one| one["opt_in"] == true)
        .collect();
    ensure!(opt_in.len() == 1 && opt_in[0]["name"] == "libc");
    Ok(())
}
