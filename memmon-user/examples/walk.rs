//! Prints the tt-metal allocators of a running process as JSON: `walk PID`.

use std::{fs::File, time::Instant};

use anyhow::{Context as _, anyhow};
use memmon::{
    elf::Library,
    runtimes::tt_metal::{layout, walk::Walker},
    target::{maps, memory::ProcessMemory},
};
use serde_json::json;

fn main() -> anyhow::Result<()> {
    let pid: u32 = std::env::args()
        .nth(1)
        .context("usage: walk PID")?
        .parse()
        .context("PID is a number")?;
    let regions = maps::of_process(pid)?;
    let mapped = regions
        .iter()
        .find(|region| region.offset == 0 && region.path.ends_with("/libtt_metal.so"))
        .ok_or_else(|| anyhow!("process {pid} does not map libtt_metal.so"))?;
    let path = format!("/proc/{pid}/map_files/{:x}-{:x}", mapped.start, mapped.end);
    let started = Instant::now();
    let library = Library::open(&File::open(path)?)?;
    let layout = layout::resolve(&library)?;
    let resolved = started.elapsed();
    let first = library
        .vaddr_of_offset(0)
        .context("the file's start is not loaded")?;
    let memory = ProcessMemory::open(pid)?;
    let started = Instant::now();
    let walker = Walker::new(&memory, &layout, mapped.start.wrapping_sub(first));
    let scan = walker.scan(&regions)?;
    let walked = started.elapsed();
    let allocators: Vec<_> = scan
        .allocators
        .iter()
        .map(|allocator| {
            json!({
                "address": format!("{:#x}", allocator.address),
                "device": format!("{:#x}", allocator.device),
                "chips": allocator.chips,
                "consistent": allocator.consistent,
                "banks": allocator.banks.iter().map(|bank| json!({
                    "pool": bank.pool,
                    "num_banks": bank.num_banks,
                    "capacity_per_bank": bank.capacity_per_bank,
                    "allocated_per_bank": bank.allocated_per_bank,
                    "largest_free_per_bank": bank.largest_free_per_bank,
                })).collect::<Vec<_>>(),
                "buffers": allocator.buffers.iter().map(|buffer| json!({
                    "key": format!("{:#x}", buffer.key),
                    "pool": buffer.pool,
                    "requested": buffer.requested,
                    "charged": buffer.charged,
                    "address": buffer.address,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let answer = json!({
        "layout": layout.basis.name(),
        "complete": scan.complete,
        "layout_ms": resolved.as_secs_f64() * 1e3,
        "walk_ms": walked.as_secs_f64() * 1e3,
        "chip_uids": walker.chip_uids(&regions),
        "allocators": allocators,
    });
    println!("{answer}");
    Ok(())
}
