//! Gives up everything that speaking to a profiler does not need. There is one thread so far.

use std::{io, mem, os::fd::AsRawFd as _, os::fd::FromRawFd as _, os::fd::OwnedFd};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::{Gid, Uid, chdir, chroot, geteuid, setgroups, setresgid, setresuid},
};

use crate::rights;

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// Tracy queues what a profiler does not take. One that takes nothing ends its own connection.
const MEMORY: u64 = 2 << 30;

#[derive(Debug, thiserror::Error)]
#[error("cannot give up what Tracy's client must not have: {step}: {error}")]
pub struct ConfineError {
    step: &'static str,
    error: io::Error,
}

fn step<T, E: Into<io::Error>>(
    step: &'static str,
    result: Result<T, E>,
) -> Result<T, ConfineError> {
    result.map_err(|error| ConfineError {
        step,
        error: error.into(),
    })
}

/// What was open where memmon was started is none of this process's business. Comes first, before
/// it opens anything itself.
pub fn forget_descriptors() -> Result<(), ConfineError> {
    // SAFETY: nothing in this process has a descriptor but the three standard ones.
    let result = Errno::result(unsafe { libc::close_range(3, libc::c_uint::MAX, 0) });
    step("descriptors of others", result.map(drop))
}

pub fn confine() -> Result<(), ConfineError> {
    step("a name of its own", prctl::set_name(c"memmon-tracy"))?;
    let is_root = step("a network of its own", own_network())?;
    step("its loopback interface", raise_loopback())?;
    // A folder of the kernel's that nobody can write to, with nothing in it but this process's own
    // descriptors, by number.
    step("an empty root folder", chroot("/proc/self/fdinfo"))?;
    step("an empty root folder", chdir("/"))?;
    step(
        "a bound on its memory",
        setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY),
    )?;
    if is_root {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        step("no groups", setgroups(&[]))?;
        step("no group", setresgid(group, group, group))?;
        step("no user", setresuid(user, user, user))?;
    }
    // memmon may not signal another user's process: the kernel ends this one with the thread that
    // started it. (Changing the user above would have undone it.)
    step("ending with memmon", prctl::set_pdeathsig(Signal::SIGKILL))?;
    // memmon's threads have it so that changing the user takes nothing away.
    step("no rights", rights::drop_all().map_err(io::Error::other))?;
    step("no looking into it", prctl::set_dumpable(false))
}

/// A network with nobody else in it: Tracy's client listens there, and only the profiler that was
/// let in gets to it. Says whether this is root's right; else it is any user's, in a user
/// namespace of its own.
fn own_network() -> Result<bool, Errno> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => Ok(geteuid().is_root()),
        Err(Errno::EPERM) => {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map(|()| false)
        }
        Err(error) => Err(error),
    }
}

fn raise_loopback() -> io::Result<()> {
    // SAFETY: makes a descriptor, or -1.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: reads the request, which lives for the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
