//! The daemon's protocol, as its document tells it: by a client that was written after it.

use std::{os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use memmon::tables::{Batch, Replica};
use memmon_tests::{
    check::{acquainted, holds, running},
    fixture::{Driver, Fault, Fixture, Layout, number},
    memmon::Daemon,
    people::{Open, nobody, open_directory},
    raw::Connection,
};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// A daemon that everybody can reach, and a program of root's, which alone it observes.
struct Scene {
    daemon: Daemon,
    driver: Driver,
    _open: Open,
}

fn scene() -> Result<Scene> {
    let open = Open::new(&Fixture::get(Layout::Pimpl, Fault::None)?)?;
    let mut command = open.driver();
    command.arg0("--token=secret");
    let driver = Driver::spawn(command)?;
    let pid = driver.pid().to_string();
    let daemon = Daemon::start_in(open_directory()?, |_| {}, &["-p", &pid])?;
    acquainted(&daemon, driver.pid())?;
    Ok(Scene {
        daemon,
        driver,
        _open: open,
    })
}

fn connect(socket: &Path) -> Result<Connection> {
    Connection::open(socket)
}

#[test]
fn the_documents_client_works() -> Result<()> {
    let Scene {
        daemon,
        mut driver,
        _open,
    } = scene()?;
    let answer = driver.ask("alloc a DRAM 2097152 2048")?;
    let code = DOCUMENT
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("the document has a client in Python")?;
    let socket = daemon.socket().display().to_string();
    let code = code.replace("/run/memmon-ebpf.sock", &socket);
    let output = Command::new("python3").arg("-c").arg(&code).output()?;
    ensure!(output.status.success(), "{output:?}\n{code}");
    let text = String::from_utf8(output.stdout)?;
    let truth = number(&answer, "truth", 0, "DRAM");
    let line = format!("{} 0 DRAM {truth}", driver.pid());
    ensure!(text.lines().any(|l| l == line), "no `{line}` in:\n{text}");
    Ok(())
}

/// Questions one after the other on one connection, while snapshots come in between.
#[test]
fn questions_follow_one_another() -> Result<()> {
    let Scene {
        daemon,
        mut driver,
        _open,
    } = scene()?;
    let mut client = connect(&daemon.socket())?;
    client.wish(json!({"watch": {"refresh_ms": 100}}))?;
    ensure!(client.answer()?.get("snapshot").is_some());
    let pid = driver.pid();
    for step in 1..=3 {
        let told = driver.ask(&format!("alloc a{step} DRAM 2097152 2048"))?;
        client.wish(json!({"live": {"pids": [pid], "pool": "DRAM", "limit": 2}}))?;
        let list = loop {
            if let Some(list) = client.answer()?.get("live") {
                break list.clone();
            }
        };
        let listed = list["allocations"].as_array().context("a list")?;
        ensure!(listed.len() == step.min(2), "{list}");
        let charged: u64 = listed
            .iter()
            .filter_map(|a| a["charged_bytes"].as_u64())
            .sum();
        let all = charged + list["omitted_bytes"].as_u64().context("omitted")?;
        assert_eq!(all, number(&told, "truth", 0, "DRAM"), "{list}");
    }
    Ok(())
}

#[test]
fn what_is_not_understood_is_refused_in_words() -> Result<()> {
    let daemon = Daemon::start(&["-p", "1"])?;
    let refusal = |message: &[u8]| -> Result<String> {
        let mut client = connect(&daemon.socket())?;
        // It may be refused before it is read to its end.
        let _ = client.send(message);
        let answer = client.answer()?;
        ensure!(client.answer().is_err(), "it goes on after {answer}");
        Ok(answer["error"].as_str().context("an error")?.to_owned())
    };
    for (message, words) in [
        (
            r#"{"protocol": 7, "wish": {"dance": {}}}"#,
            "protocol 1, the client 7",
        ),
        (r#"{"protocol": 1, "wish": "dance"}"#, "`dance`"),
        (r#"{"wish": "snapshot"}"#, "protocol"),
        ("GET / HTTP/1.1", "not understood"),
    ] {
        let text = refusal(message.as_bytes())?;
        ensure!(text.contains(words), "{message}: {text}");
    }
    ensure!(refusal(&[b' '; 70_000])?.contains("frame"), "too long");
    Ok(())
}

/// What is followed makes the numbers that the driver tells; and somebody else follows it without
/// secrets.
#[test]
fn following() -> Result<()> {
    let Scene {
        daemon,
        mut driver,
        _open,
    } = scene()?;
    driver.ask("open chips 2")?;
    driver.ask("alloc before DRAM 2097152 2048")?;
    let mut root = connect(&daemon.socket())?;
    let socket = daemon.socket();
    let mut other = nobody(|| connect(&socket))?;
    let mut replicas = Vec::new();
    for client in [&mut root, &mut other] {
        client.wish(json!("follow"))?;
        replicas.push(Replica::of(&batch(client)?));
    }
    driver.ask("alloc a L1 32768 4096")?;
    driver.ask("free before")?;
    let answer = driver.ask("alloc b DRAM 4194304 2048")?;
    let clients = [(&mut root, true), (&mut other, false)];
    for ((client, is_root), replica) in clients.into_iter().zip(&mut replicas) {
        let process = loop {
            let snapshot = replica.snapshot(String::new());
            let process = running(&snapshot, driver.pid())
                .context("the process")?
                .clone();
            if holds(&process, &answer).is_ok() {
                break process;
            }
            // It gives up when no more come.
            replica.apply(&batch(client).with_context(|| format!("{process:#?}, {answer}"))?);
        };
        let live = replica.live.len() as u64;
        let told: u64 = number(&answer, "live", 0, "DRAM") + number(&answer, "live", 0, "L1");
        assert_eq!(live, told, "allocations, one by one");
        let secret = process.command.iter().any(|word| word.contains("secret"));
        assert_eq!(secret, is_root, "{process:?}");
    }
    let keys = |replica: &Replica| -> Vec<u64> { replica.live.iter().map(|e| e.key).collect() };
    let addresses = keys(&replicas[0]);
    ensure!(
        keys(&replicas[1])
            .iter()
            .all(|key| !addresses.contains(key)),
        "addresses in somebody else's memory"
    );
    Ok(())
}

fn batch(client: &mut Connection) -> Result<Batch> {
    let answer: Value = client.answer()?;
    let batch = answer.get("batch").with_context(|| format!("{answer}"))?;
    Ok(serde_json::from_value(batch.clone())?)
}
