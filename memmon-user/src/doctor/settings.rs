//! What the kernel's settings allow.

use std::{fs, io};

use caps::Capability;

use super::{Area, Check, State};
use crate::rights::Held;

const AREA: Area = Area::Kernel;

pub fn checks(held: Held) -> Vec<Check> {
    vec![
        overruled(
            "perf events",
            "kernel.perf_event_paranoid",
            held,
            Capability::CAP_PERFMON,
        ),
        overruled(
            "BPF for users",
            "kernel.unprivileged_bpf_disabled",
            held,
            Capability::CAP_BPF,
        ),
        ptrace_scope(&read("/proc/sys/kernel/yama/ptrace_scope")),
        lockdown(&read("/sys/kernel/security/lockdown")),
    ]
}

/// None where there is no such file.
type Setting = io::Result<Option<String>>;

fn read(path: &str) -> Setting {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn unreadable(name: &'static str, error: &io::Error) -> Check {
    AREA.finds(
        name,
        State::Unchecked,
        format!("cannot be read: {error}"),
        "run the doctor as root",
    )
}

/// A setting for those who lack a capability: whatever it says, it is no obstacle of its own.
fn overruled(name: &'static str, sysctl: &str, held: Held, capability: Capability) -> Check {
    match read(&format!("/proc/sys/{}", sysctl.replace('.', "/"))) {
        Ok(None) => AREA.ok(name, format!("{sysctl} is not in this kernel")),
        Ok(Some(value)) => {
            let matters = if held.has(capability) {
                "does not matter with"
            } else {
                "whatever it is, memmon needs"
            };
            let finding = format!("{sysctl} is {value} ({matters} {capability})");
            AREA.ok(name, finding)
        }
        Err(error) => unreadable(name, &error),
    }
}

fn ptrace_scope(setting: &Setting) -> Check {
    const NAME: &str = "ptrace scope";
    match setting.as_ref().map(Option::as_deref) {
        Ok(None) => AREA.ok(NAME, "kernel.yama.ptrace_scope is not in this kernel"),
        Ok(Some("3")) => AREA.finds(
            NAME,
            State::Limited,
            "kernel.yama.ptrace_scope is 3: nobody may read another process's memory, so what was allocated before memmon came stays unknown",
            "it cannot be lowered before the next boot: take `kernel.yama.ptrace_scope = 3` out of /etc/sysctl.d",
        ),
        Ok(Some(value)) => AREA.ok(NAME, format!("kernel.yama.ptrace_scope is {value} (does not matter with CAP_SYS_PTRACE)")),
        Err(error) => unreadable(NAME, error),
    }
}

fn lockdown(setting: &Setting) -> Check {
    const NAME: &str = "lockdown";
    let chosen = |text: &str| -> String {
        let inside = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'));
        inside.map_or_else(|| text.to_owned(), |(word, _)| word.to_owned())
    };
    match setting.as_ref().map(|text| text.as_deref().map(chosen)) {
        Ok(None) => AREA.ok(NAME, "none"),
        Ok(Some(mode)) if mode == "confidentiality" => AREA.finds(
            NAME,
            State::Limited,
            "confidentiality: the kernel may refuse tracefs and BPF to everybody",
            "boot with `lockdown=integrity` where the lines below say that something is refused",
        ),
        Ok(Some(mode)) => AREA.ok(NAME, mode),
        Err(error) => unreadable(NAME, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Setting {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn lockdown_as_the_kernel_writes_it() {
        let none = lockdown(&set("[none] integrity confidentiality"));
        assert_eq!((none.state, none.finding.as_str()), (State::Ok, "none"));
        let all = lockdown(&set("none integrity [confidentiality]"));
        assert_eq!(all.state, State::Limited);
        assert_eq!(lockdown(&Ok(None)).state, State::Ok);
        let refused = Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(lockdown(&refused).state, State::Unchecked);
    }

    #[test]
    fn only_the_last_ptrace_scope_stops_root() {
        assert_eq!(ptrace_scope(&set("2")).state, State::Ok);
        assert_eq!(ptrace_scope(&set("3")).state, State::Limited);
    }
}
