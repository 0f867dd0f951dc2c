//! A thread gives up what it does not need, for good.

use std::io;

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::{errno::Errno, sys::prctl, unistd::geteuid};

use super::held::Held;

/// Root is an ordinary user, a change of the user gives and takes nothing, and nothing of this is
/// ever changed again (`linux/securebits.h`). Keeping capabilities over a change of the user stays off.
const SECUREBITS: libc::c_ulong =
    NOROOT | NO_SETUID_FIXUP | KEEP_CAPS_LOCKED | NO_CAP_AMBIENT_RAISE;
const NOROOT: libc::c_ulong = 0b11;
const NO_SETUID_FIXUP: libc::c_ulong = 0b11 << 2;
const KEEP_CAPS_LOCKED: libc::c_ulong = 0b10 << 4;
const NO_CAP_AMBIENT_RAISE: libc::c_ulong = 0b11 << 6;
/// Of each pair the bit that locks the other.
const LOCKS: libc::c_ulong = 0b1010_1010;

#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    #[error(
        "cannot give up rights that are not needed ({step}: {cause}); a seccomp filter that lets memmon-ebpf \
         run must allow capget, capset and prctl"
    )]
    Refused {
        step: &'static str,
        cause: io::Error,
    },
    #[error("rights that are not needed could not be given up: {0} stayed")]
    Stayed(String),
}

fn capability(step: &'static str) -> impl FnOnce(CapsError) -> RightsError {
    move |error| RightsError::Refused {
        step,
        cause: io::Error::other(error.to_string()),
    }
}

fn system(step: &'static str) -> impl FnOnce(nix::Error) -> RightsError {
    move |error| RightsError::Refused {
        step,
        cause: error.into(),
    }
}

/// The calling thread, and those that it starts from here on, keep `wanted` where they have it, and
/// nothing else; what is gone does not come back, whatever they execute.
pub fn keep(wanted: &[Capability]) -> Result<(), RightsError> {
    give_up_all_but(wanted, false)
}

/// The same, for a thread that starts programs which need `wanted`: they get it, and no more.
pub fn keep_and_hand_down(wanted: &[Capability]) -> Result<(), RightsError> {
    give_up_all_but(wanted, true)
}

fn give_up_all_but(wanted: &[Capability], hand_down: bool) -> Result<(), RightsError> {
    let kept = Held::now().among(wanted);
    prctl::set_no_new_privs().map_err(system("no_new_privs"))?;
    // Where that is locked it means nothing either: no right to change the user is kept.
    let _ = prctl::set_keepcaps(false);
    caps::clear(None, CapSet::Ambient).map_err(capability("ambient"))?;
    let handed = match hand_down {
        true => kept.clone(),
        false => CapsHashSet::new(),
    };
    // Before the bounding set, which limits it.
    caps::set(None, CapSet::Inheritable, &handed).map_err(capability("inheritable"))?;
    for each in handed {
        // The caller may have locked that. What is started manages without.
        let _ = caps::raise(None, CapSet::Ambient, each);
    }
    // It takes a right of its own. Where that is not there, no_new_privs has the same effect: what is
    // executed gets nothing that this thread has not.
    if Held::now().has(Capability::CAP_SETPCAP) {
        caps::clear(None, CapSet::Bounding).map_err(capability("bounding"))?;
        set_securebits().map_err(system("securebits"))?;
    }
    caps::set(None, CapSet::Effective, &kept).map_err(capability("effective"))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(capability("permitted"))?;
    let now = caps::read(None, CapSet::Permitted).map_err(capability("permitted"))?;
    if now == kept {
        return Ok(());
    }
    Err(RightsError::Stayed(names(&now)))
}

/// The calling thread may do from here on what a program may that it executes: a user other than root hands down what
/// is ambient, and no more.
pub fn as_what_is_executed() -> Result<(), RightsError> {
    // SAFETY: asks for this thread's own.
    let bits = Errno::result(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) });
    let is_plain = bits.is_ok_and(|bits| libc::c_ulong::from(bits.cast_unsigned()) & 1 == 0);
    if geteuid().is_root() && is_plain {
        return Ok(());
    }
    let ambient = caps::read(None, CapSet::Ambient).map_err(capability("ambient"))?;
    caps::set(None, CapSet::Effective, &ambient).map_err(capability("effective"))
}

fn set_securebits() -> nix::Result<()> {
    // SAFETY: asks for this thread's own.
    let now = Errno::result(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) })?;
    let now = libc::c_ulong::from(now.cast_unsigned());
    // What the caller locked stays as it is.
    let locked = now & LOCKS;
    let fixed = locked | locked >> 1;
    let wanted = now & fixed | SECUREBITS & !fixed;
    // SAFETY: takes a number, and changes this thread's own.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, wanted, 0, 0, 0) }).map(drop)
}

fn names(set: &CapsHashSet) -> String {
    let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(", ")
}

/// For threads that have nobody to tell: rather none than one with rights that it must not have.
pub fn or_end(result: Result<(), RightsError>) {
    if let Err(error) = result {
        eprintln!("memmon-ebpf: {error}");
        std::process::exit(1);
    }
}

/// A process of the same user may not look into this one, nor write to it. Threads without rights share
/// their memory with those that have some: who could write to the former would have the rights of
/// the latter. (It has no effect on what is executed from here.)
pub fn unreadable() -> Result<(), RightsError> {
    prctl::set_dumpable(false).map_err(system("dumpable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_what_is_ambient() {
        std::thread::spawn(|| {
            as_what_is_executed().unwrap();
            let effective = caps::read(None, CapSet::Effective).unwrap();
            let expected = match geteuid().is_root() {
                true => caps::read(None, CapSet::Permitted).unwrap(),
                false => caps::read(None, CapSet::Ambient).unwrap(),
            };
            assert!(effective.is_subset(&expected));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn other_threads_keep_theirs() {
        let before = caps::read(None, CapSet::Permitted).unwrap();
        std::thread::spawn(|| {
            keep(&[Capability::CAP_KILL]).unwrap();
            let left = caps::read(None, CapSet::Permitted).unwrap();
            assert!(left.is_subset(&[Capability::CAP_KILL].into()));
            assert!(caps::read(None, CapSet::Ambient).unwrap().is_empty());
            assert!(prctl::get_no_new_privs().unwrap());
            // Those that it starts have no more.
            let child = std::thread::spawn(|| {
                keep(&[Capability::CAP_KILL, Capability::CAP_CHOWN]).unwrap();
                caps::read(None, CapSet::Effective).unwrap()
            });
            assert_eq!(child.join().unwrap(), left);
            keep(&[]).unwrap();
            keep(&[Capability::CAP_KILL]).unwrap();
            assert!(Held::now().is_empty(), "it does not come back");
        })
        .join()
        .unwrap();
        assert_eq!(caps::read(None, CapSet::Permitted).unwrap(), before);
        assert!(!prctl::get_no_new_privs().unwrap());
    }
}
