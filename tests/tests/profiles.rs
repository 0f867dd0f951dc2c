//! `memmon-ebpf profiles`: what is known, and how far it can be trusted, for people and for programs.

use std::{fs, path::Path};

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

/// Two profiles that take allocations from one function of one library would count them twice: `check` says so of one
/// beside the built-in ones, and lists refuse two of one's own.
#[test]
fn two_that_count_the_same_function() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, top: &str, library: &str, function: &str| -> Result<String> {
        let file = folder.path().join(format!("{name}.toml"));
        let text = format!(
            "schema = 1\nname = \"{name}\"\nfamily = \"{name}\"\nstatus = \"test\"\n{top}\n\
             [pools]\n0 = \"DEVICE\"\n\n[[library]]\nnames = [\"{library}\"]\nthrows = false\n\n\
             [[library.probe]]\nname = \"allocate\"\nsymbol = \"{function}\"\naction = \"alloc\"\n\
             key = \"arg0\"\nrequested = \"arg1\"\n\n\
             [[library.probe]]\nname = \"free\"\nsymbol = \"{function}_free\"\naction = \"free\"\nkey = \"arg0\"\n"
        );
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    };
    // What it is refused with, and where.
    let refused = |args: &[&str], file: &str, function: &str, by: &str| -> Result<()> {
        let output = run(args)?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        ensure!(output.stdout.is_empty());
        let message = format!(
            "{file}:2:8: its `{function}` is counted by \"{by}\" of another family already: both would count the same bytes"
        );
        ensure!(said.contains(&message), "{said}");
        ensure!(said.ends_with("1 error\n"), "{said}");
        Ok(())
    };
    let cuda = write("mine", "", "libcuda.so*", "cuMemAlloc_v2")?;
    refused(
        &["profiles", "check", &cuda],
        &cuda,
        "cuMemAlloc_v2",
        "cuda",
    )?;
    // The same, of something else: of another library, or of another function.
    for (library, function) in [("libmine.so", "cuMemAlloc_v2"), ("libcuda.so*", "mine")] {
        let sound = write("mine", "", library, function)?;
        ensure!(text(&["profiles", "check", &sound])?.contains("sound"));
    }
    // Who says that it lies above counts what is left.
    let above = write("mine", "above = [\"cuda\"]", "libcuda.so*", "cuMemAlloc_v2")?;
    ensure!(text(&["profiles", "check", &above])?.contains("sound"));

    let one = write("one", "", "libmine.so*", "mine_allocate")?;
    let other = write("other", "", "libmine.so.1", "mine_allocate")?;
    for file in [&one, &other] {
        ensure!(text(&["profiles", "check", file])?.contains("sound"));
    }
    let both = ["profiles", "--profile", &one, "--profile", &other];
    refused(&both, &other, "mine_allocate", "one")?;
    let beside = ["profiles", "--profile", &one, "check", &other];
    refused(&beside, &other, "mine_allocate", "one")
}
