//! The live view with made-up numbers that change: to look at it, and to see that the terminal is left as it was found.
//!
//! `cargo run --example tui_demo -- [busy|troubled|empty|crowd] [panic|thread-panic|end|drop] [silent]`

#[allow(dead_code, reason = "shared with the tests of the views")]
#[path = "../src/views/sample.rs"]
mod sample;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use memmon::tables;
use memmon::tables::snapshot::Snapshot;
use memmon::views::tui::{Options, run, source::Source};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const REFRESH: Duration = Duration::from_millis(500);
/// When what the second argument says happens.
const SOON: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|w| w == word);
    let first = if has("troubled") {
        sample::troubled()
    } else if has("empty") {
        sample::empty()
    } else if has("crowd") {
        sample::crowd(10_000)
    } else {
        sample::busy()
    };
    let (sender, snapshots) = watch::channel(Arc::new(first.clone()));
    let source = Source {
        snapshots,
        inspections: mpsc::channel(1).0,
        link: None,
        time: None,
    };
    let ends = has("end");
    let sending = tokio::spawn(async move {
        for step in 0_u64.. {
            sleep(REFRESH).await;
            if ends && step > 3 || sender.send(Arc::new(changed(&first, step))).is_err() {
                return;
            }
        }
    });
    if has("thread-panic") {
        std::thread::spawn(|| {
            std::thread::sleep(SOON);
            fail();
        });
    }
    let view = run(source, Options::from_environment(REFRESH, String::new()));
    let exit = tokio::select! {
        biased;
        () = sleep(SOON), if has("drop") => None,
        () = async { sleep(SOON).await; fail() }, if has("panic") => None,
        exit = view => Some(exit?),
    };
    sending.abort();
    // The terminal may be gone by now, or take no output.
    if !has("silent") {
        let _ = writeln!(std::io::stdout(), "{exit:?}");
    }
    Ok(())
}

#[allow(clippy::panic, reason = "it is what is to be seen")]
fn fail() {
    panic!("as asked for");
}

fn changed(first: &Snapshot, step: u64) -> Snapshot {
    let mut next = first.clone();
    next.taken_at = format!(
        "2026-01-31T12:{:02}:{:02}.000Z",
        step / 120 % 60,
        step / 2 % 60
    );
    next.health.events += step * 137;
    let running = next.processes.iter_mut().filter(|p| p.state != "exited");
    for (at, process) in running.enumerate() {
        let wave = (step + at as u64 * 7) % 20;
        for usage in process.usage.iter_mut().flatten() {
            usage.charged_bytes = usage
                .charged_bytes
                .map(|b| b / 20 * (10 + wave.min(20 - wave)));
        }
    }
    for pool in next.devices.iter_mut().flat_map(|d| &mut d.pools) {
        let wave = step % 40;
        pool.charged_bytes = pool.charged_bytes.map(|b| b / 20 * wave.min(40 - wave));
    }
    next
}
