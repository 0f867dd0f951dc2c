//! A probe that is placed and hit, all the way: breakpoint, interpreter, ledger.
//!
//! memmon is never observed itself, so a child of it calls the probed function.

use std::{
    fmt, fs,
    hint::black_box,
    io,
    os::unix::process::CommandExt as _,
    process::Command,
    time::{Duration, Instant},
};

use memmon_ebpf::{
    WIRE_VERSION,
    spec::{Action, Instr, MAX_INSTRS, ProbeSpec, op, reg},
};

use crate::{
    attach::kernel::{Kernel, KernelError, Point},
    target::maps,
};

/// How often it is called, and the bytes of the first call; each call asks for one more.
const CALLS: u64 = 8;
const BYTES: u64 = 4096;

#[derive(Debug)]
pub struct Passed {
    took: Duration,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "hit in a child of the doctor: {CALLS} of {CALLS} calls counted, to the byte ({} ms)",
            self.took.as_millis()
        )
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the doctor's own code is not found in /proc/self/maps")]
    NoCode,
    #[error("the doctor's own mappings cannot be read")]
    Maps(#[source] io::Error),
    #[error("the child cannot be started")]
    Child(#[source] io::Error),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(
        "a probe was placed and its function called {CALLS} times, but {allocations} calls with {requested} bytes were counted instead of {}",
        expected()
    )]
    Miscounted { allocations: u64, requested: i64 },
}

/// The probed function.
#[inline(never)]
extern "C" fn asked(bytes: u64) -> u64 {
    black_box(bytes)
}

fn expected() -> u64 {
    (0..CALLS).map(|call| BYTES + call).sum()
}

pub fn run(kernel: &mut Kernel) -> Result<Passed, Error> {
    let started = Instant::now();
    let point = Point {
        file_offset: file_offset(asked as *const () as u64)?,
        moved: 0,
        single_stepped: false,
        spec: spec(),
        at_return: false,
    };
    kernel.add_to_scope(std::process::id())?;
    let attachment = kernel.attach("/proc/self/exe", &[point])?;
    let called = call_in_child();
    let (mut allocations, mut requested) = (0, 0);
    for (_, row) in kernel.rows.all() {
        allocations += row.allocations;
        requested += row.requested;
    }
    kernel.detach(&attachment);
    called.map_err(Error::Child)?;
    if allocations == CALLS && requested.cast_unsigned() == expected() {
        Ok(Passed {
            took: started.elapsed(),
        })
    } else {
        Err(Error::Miscounted {
            allocations,
            requested,
        })
    }
}

/// Every call is an allocation of as many bytes as its argument says.
fn spec() -> ProbeSpec {
    let argument = |dst| Instr {
        op: op::ARG,
        dst,
        ..Instr::default()
    };
    let mut code = [Instr::default(); MAX_INSTRS];
    code[0] = argument(reg::KEY);
    code[1] = argument(reg::REQUESTED);
    ProbeSpec {
        version: WIRE_VERSION,
        action: Action::Alloc as u8,
        outputs: 1 << reg::KEY | 1 << reg::REQUESTED,
        len: 2,
        flags: 0,
        space: 0,
        label: 0,
        covered_by: 0,
        code,
    }
}

/// Where in memmon's own file that code lies.
fn file_offset(address: u64) -> Result<u64, Error> {
    let text = fs::read_to_string("/proc/self/maps").map_err(Error::Maps)?;
    maps::parse(&text)
        .iter()
        .find(|region| region.executable && (region.start..region.end).contains(&address))
        .map(|region| address - region.start + region.offset)
        .ok_or(Error::NoCode)
}

fn call_in_child() -> io::Result<()> {
    let mut child = Command::new("/proc/self/exe");
    child.arg("--version");
    child.stdout(std::process::Stdio::null());
    // SAFETY: arithmetic only, which is async-signal-safe.
    unsafe {
        child.pre_exec(|| {
            for call in 0..CALLS {
                black_box(asked(BYTES + call));
            }
            Ok(())
        });
    }
    child.status().map(|_| ())
}
