//! How long a snapshot of 10,000 processes on two devices takes to show: its way into the table (sorted, filtered,
//! grouped), and a frame of 200 x 60 cells. Every amount changes from one snapshot to the next.
//!
//! `cargo run --release --example frame_time`

#[allow(dead_code, reason = "shared with the tests of the views")]
#[path = "../src/views/sample.rs"]
mod sample;

use std::{sync::Arc, time::Duration};

use memmon::tables;
use memmon::tables::snapshot::Snapshot;
use memmon::views::tui::Screen;
use nix::time::{ClockId, clock_gettime};

const PROCESSES: u32 = 10_000;
const ROUNDS: usize = 300;
const SIZE: (u16, u16) = (200, 60);

fn main() {
    let snapshots: Vec<Arc<Snapshot>> = (0..20).map(|step| Arc::new(crowd(step))).collect();
    let rows: usize = snapshots[0].processes.iter().flat_map(|p| &p.usage).count() * 2;
    println!(
        "{PROCESSES} processes, {rows} rows, {} x {} cells; milliseconds of processor time, median and 99th percentile",
        SIZE.0, SIZE.1
    );
    for (what, keys) in [
        ("sorted by DRAM", ""),
        ("sorted by command", "<<"),
        ("filtered (serve >1G)", "/serve >1G\r"),
        ("grouped by process", "g"),
    ] {
        let mut screen = Screen::new(SIZE.0, SIZE.1);
        screen.show(&snapshots[0]);
        screen.draw();
        screen.press(keys.as_bytes());
        let mut times: Vec<(Duration, Duration)> = (0..ROUNDS)
            .map(|round| {
                let begin = processor_time();
                screen.show(&snapshots[round % snapshots.len()]);
                let shown = processor_time() - begin;
                screen.draw();
                (shown, processor_time() - begin - shown)
            })
            .collect();
        times.sort_by_key(|(update, draw)| *update + *draw);
        let at = |part: usize| {
            let (update, draw) = times[(times.len() - 1) * part / 100];
            let ms = |time: Duration| time.as_secs_f64() * 1000.0;
            format!(
                "{:.1} ({:.1} update + {:.1} draw)",
                ms(update + draw),
                ms(update),
                ms(draw)
            )
        };
        println!("{what:<22} median {}   99th {}", at(50), at(99));
    }
}

/// Of this thread: whatever else this machine does is not measured.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn crowd(step: u64) -> Snapshot {
    let mut snapshot = sample::busy();
    snapshot.taken_at = format!("2026-01-31T12:00:{step:02}Z");
    snapshot.processes = (0..PROCESSES)
        .map(|n| {
            let bytes = (u64::from(n.wrapping_mul(2_654_435_761) >> 8) + step * 7_919) * 977;
            let usage = (0..2)
                .flat_map(|device| {
                    [
                        sample::usage(device, "DRAM", bytes, bytes, 9 + step),
                        sample::usage(device, "L1", bytes / 64, bytes / 64, step),
                    ]
                })
                .collect();
            let rank = n.to_string();
            let command = [
                "python3",
                "serve.py",
                "--model",
                "llama-70b",
                "--rank",
                &rank,
            ];
            let user = ["ada", "grace", "root"][n as usize % 3];
            sample::process(100 + n, "python", &command, user, usage)
        })
        .collect();
    snapshot
}
