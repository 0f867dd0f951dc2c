//! A process under a pid of one's choice: one that another has just had.

use std::{
    ffi::CString,
    io,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};

/// The kernel's `struct clone_args`.
#[derive(Default)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child; it does not outlive this value.
#[derive(Debug)]
pub struct Reborn(i32);

impl Reborn {
    /// Starts `program` under this pid, which must be free, with nothing to read or to write to.
    pub fn start(pid: u32, program: &Path, args: &[&str]) -> Result<Self> {
        let program = CString::new(program.as_os_str().as_bytes())?;
        let args: Vec<CString> = args
            .iter()
            .map(|arg| CString::new(*arg))
            .collect::<Result<_, _>>()?;
        let mut pointers = vec![program.as_ptr()];
        pointers.extend(args.iter().map(|arg| arg.as_ptr()));
        pointers.push(std::ptr::null());
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        let tids = [pid.cast_signed()];
        let clone = CloneArgs {
            exit_signal: libc::SIGCHLD as u64,
            set_tid: tids.as_ptr() as u64,
            set_tid_size: 1,
            ..CloneArgs::default()
        };
        // SAFETY: as fork(); the child calls nothing but the three below, on what was made before.
        let child =
            unsafe { libc::syscall(libc::SYS_clone3, &raw const clone, size_of::<CloneArgs>()) };
        if child == 0 {
            // SAFETY: async-signal-safe calls on valid pointers.
            unsafe {
                libc::dup2(null.as_raw_fd(), 0);
                libc::dup2(null.as_raw_fd(), 1);
                libc::execv(program.as_ptr(), pointers.as_ptr());
                libc::_exit(127);
            }
        }
        if child < 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("pid {pid} once more"));
        }
        Ok(Self(i32::try_from(child)?))
    }
}

impl Drop for Reborn {
    fn drop(&mut self) {
        // SAFETY: signals and waits for a child that was not waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}
