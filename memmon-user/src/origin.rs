//! What the caller had set when it started memmon: Rust's runtime and memmon change some of it for
//! themselves, and the command of `run` gets it as it was.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use nix::sys::signal::Signal;

/// Bit n-1 is signal n.
static IGNORED: AtomicU64 = AtomicU64::new(0);
static BLOCKED: AtomicU64 = AtomicU64::new(0);
/// Bit n is descriptor n, one of the standard three.
static CLOSED: AtomicU64 = AtomicU64::new(0);

const SIGNALS: i32 = 64;

/// Runs before Rust's runtime, which ignores SIGPIPE and opens standard descriptors that are closed.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let mut ignored = 0;
    for signal in 1..=SIGNALS {
        if disposition(signal) == Some(libc::SIG_IGN) {
            ignored |= bit(signal);
        }
    }
    IGNORED.store(ignored, Relaxed);
    let mut blocked = 0_u64;
    // SAFETY: sets nothing, and writes eight bytes.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            0,
            &raw mut blocked,
            size_of::<u64>(),
        );
    }
    BLOCKED.store(blocked, Relaxed);
    // SAFETY: asks, and changes nothing.
    let is_closed = |fd: &i32| unsafe { libc::fcntl(*fd, libc::F_GETFD) } < 0;
    let closed = (0..3).filter(is_closed).fold(0, |all, fd| all | 1 << fd);
    CLOSED.store(closed, Relaxed);
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The kernel's `struct sigaction`. The C library's own calls leave out two signals that it uses.
#[derive(Default)]
#[repr(C)]
struct Action {
    handler: libc::sighandler_t,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

fn disposition(signal: i32) -> Option<libc::sighandler_t> {
    let mut now = Action::default();
    // SAFETY: sets nothing, and writes an action of the kernel's own form.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            0,
            &raw mut now,
            size_of::<u64>(),
        )
    };
    (asked == 0).then_some(now.handler)
}

/// Whether the caller ignores it.
pub fn is_ignored(signal: Signal) -> bool {
    IGNORED.load(Relaxed) & bit(signal as i32) != 0
}

/// Whether standard output was closed. What is written to it goes nowhere, without an error: Rust's
/// runtime has put `/dev/null` in its place.
pub fn is_stdout_closed() -> bool {
    CLOSED.load(Relaxed) & (1 << libc::STDOUT_FILENO) != 0
}

/// Gives it back to a process that was forked and is about to execute something. Makes system calls only.
pub fn restore() -> io::Result<()> {
    let ignored = IGNORED.load(Relaxed);
    for signal in 1..=SIGNALS {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        let action = Action {
            handler: match ignored & bit(signal) {
                0 => libc::SIG_DFL,
                _ => libc::SIG_IGN,
            },
            ..Action::default()
        };
        // SAFETY: an action of the kernel's own form, without a handler.
        let set = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const action,
                0,
                size_of::<u64>(),
            )
        };
        checked(set)?;
    }
    let blocked = BLOCKED.load(Relaxed);
    // SAFETY: reads eight bytes.
    let set = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const blocked,
            0,
            size_of::<u64>(),
        )
    };
    checked(set)?;
    let closed = CLOSED.load(Relaxed);
    for fd in (0..3).filter(|fd| closed & (1 << fd) != 0) {
        // SAFETY: the runtime's own placeholder, of which nothing is expected.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

fn checked(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
