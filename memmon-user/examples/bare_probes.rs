//! The floor under what memmon costs: programs that do nothing, at the very points where memmon would place its own.
//!
//! `bare_probes [--profile FILE] [--entries] PID` attaches to the runtime libraries of that process, says so, and
//! detaches when standard input ends; with `--entries` at the functions' first instructions, wherever memmon's probes
//! would stand. `bare_probes --free PID` fails where one of those points holds a breakpoint already: somebody observes.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Instant,
};

use anyhow::{Context as _, bail};
use memmon::{
    attach::plan,
    discover::scan,
    elf::Library,
    observe::Runtimes,
    target::{
        maps::{self, fd_path},
        memory::{Memory as _, ProcessMemory},
    },
};

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1).peekable();
    let only_ask = words.next_if(|word| word == "--free").is_some();
    let profile = words
        .next_if(|word| word == "--profile")
        .and_then(|_| words.next());
    let at_entries = words.next_if(|word| word == "--entries").is_some();
    let pid: u32 = words
        .next()
        .context("usage: bare_probes [--free] [--profile FILE] [--entries] PID")?
        .parse()
        .context("PID is a number")?;
    let places = places(pid, profile.as_slice(), at_entries)?;
    if only_ask {
        return no_breakpoints(pid, &places);
    }
    let start = Instant::now();
    let program = empty_program()?;
    let links = places
        .iter()
        .map(|place| attach(&program, place))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let points: usize = places.iter().map(|place| place.offsets.len()).sum();
    println!(
        "{points} empty probes in {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(links);
    Ok(())
}

/// A library file, and where in it memmon would place its entry probes.
struct Place {
    file: File,
    mapped: scan::Mapped,
    offsets: Vec<u64>,
}

fn places(pid: u32, profiles: &[String], at_entries: bool) -> anyhow::Result<Vec<Place>> {
    let runtimes = Runtimes::load(profiles, &[]).map_err(anyhow::Error::msg)?;
    let regions = maps::of_process(pid).with_context(|| format!("process {pid}"))?;
    let mut places = Vec::new();
    for mapped in scan::libraries(&regions, |name| runtimes.wants(name)) {
        let file = mapped.region.open_file(pid)?;
        let library = Library::open(&file)?;
        let mut offsets = Vec::new();
        for known in runtimes.of(mapped.region.file_name(), library.build_id().as_deref()) {
            let points = runtimes
                .understand(known, &library)
                .and_then(|understood| runtimes.compile(known, &understood))
                .and_then(|probes| plan::points(&library, &probes))
                .map_err(anyhow::Error::msg)?;
            let entries = points.iter().filter(|point| !point.at_return);
            offsets.extend(entries.map(|point| {
                let moved = if at_entries { point.moved } else { 0 };
                point.file_offset - moved
            }));
        }
        places.push(Place {
            file,
            mapped,
            offsets,
        });
    }
    if places.is_empty() {
        bail!("process {pid} maps no runtime that is known");
    }
    Ok(places)
}

fn no_breakpoints(pid: u32, places: &[Place]) -> anyhow::Result<()> {
    const BREAKPOINT: u8 = 0xcc;
    let memory = ProcessMemory::open(pid)?;
    for place in places {
        let region = &place.mapped.region;
        for offset in &place.offsets {
            let mut byte = [0];
            memory.read(region.start + offset.wrapping_sub(region.offset), &mut byte)?;
            if byte[0] == BREAKPOINT {
                bail!(
                    "{} is observed: there is a breakpoint at its file offset {offset:#x}",
                    region.path
                );
            }
        }
    }
    Ok(())
}

/// `bpf(BPF_PROG_LOAD)`: as far as it is needed here; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// `bpf(BPF_LINK_CREATE)` of a link for many uprobes (Linux 6.6).
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    uprobe_flags: u32,
    pid: u32,
    padding: u32,
}

const TRACE_UPROBE_MULTI: u32 = 48;

fn empty_program() -> anyhow::Result<OwnedFd> {
    const PROG_LOAD: libc::c_long = 5;
    const KPROBE: u32 = 2;
    // r0 = 0; exit
    let code: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    let request = ProgramLoad {
        kind: KPROBE,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        expected_attach_type: TRACE_UPROBE_MULTI,
        ..ProgramLoad::default()
    };
    bpf(PROG_LOAD, &request).context("cannot load an empty BPF program (root? Linux 6.6?)")
}

fn attach(program: &OwnedFd, place: &Place) -> anyhow::Result<OwnedFd> {
    const LINK_CREATE: libc::c_long = 28;
    let path = CString::new(fd_path(&place.file).into_os_string().into_encoded_bytes())?;
    let request = LinkCreate {
        program: program.as_raw_fd().cast_unsigned(),
        attach_type: TRACE_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: place.offsets.as_ptr() as u64,
        count: u32::try_from(place.offsets.len())?,
        ..LinkCreate::default()
    };
    bpf(LINK_CREATE, &request)
        .with_context(|| format!("cannot attach to {}", place.mapped.region.path))
}

fn bpf<T>(command: libc::c_long, request: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of the request, and what it points to, which its maker keeps.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(request),
            size_of::<T>(),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nobody else knows of.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
