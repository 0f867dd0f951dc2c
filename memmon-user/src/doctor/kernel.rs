//! What the kernel can do.

use std::io;

use aya::{
    maps::MapType,
    sys::{UProbeMultiFeature, is_map_supported, is_uprobe_multi_supported},
};
use nix::{errno::Errno, sys::utsname::uname};

use super::{Area, Check, State};
use crate::attach::features::{FeatureError, OLDEST, Release, Tracepoints};

const AREA: Area = Area::Kernel;
/// What the registers of a probe's arguments are known for.
const ARCHITECTURE: &str = "x86_64";

pub fn checks(assumed: Option<&str>) -> Vec<Check> {
    let release = Release::of(assumed);
    vec![
        new_enough(&release),
        architecture(),
        bpf(),
        links(&release),
        tracepoints(),
    ]
}

fn new_enough(release: &Release) -> Check {
    let oldest = format!("Linux {}.{}", OLDEST.0, OLDEST.1);
    if release.is_new_enough() {
        let finding = format!("{} ({oldest} or later is needed)", release.text);
        return AREA.ok("release", finding);
    }
    AREA.finds(
        "release",
        State::Failed,
        format!(
            "{} is too old: BPF ring buffers and probe cookies need {oldest} or later",
            release.text
        ),
        "run memmon-ebpf on a newer kernel",
    )
}

fn architecture() -> Check {
    let machine = uname().map_or_else(
        |_| std::env::consts::ARCH.to_owned(),
        |names| names.machine().to_string_lossy().into_owned(),
    );
    if machine == ARCHITECTURE {
        return AREA.ok("architecture", machine);
    }
    AREA.finds(
        "architecture",
        State::Failed,
        format!("{machine}: probes read their arguments from the registers of {ARCHITECTURE} only"),
        format!("run memmon-ebpf on a machine with {ARCHITECTURE}"),
    )
}

fn bpf() -> Check {
    const NAME: &str = "BPF";
    match is_map_supported(MapType::RingBuf) {
        Ok(true) => AREA.ok(NAME, "maps and ring buffers can be made; no BTF is needed"),
        Ok(false) => AREA.finds(
            NAME,
            State::Failed,
            "this kernel has no BPF ring buffers",
            "run memmon-ebpf on a kernel built with CONFIG_BPF_SYSCALL",
        ),
        Err(error) if refused(&error.io_error) => AREA.finds(
            NAME,
            State::Unchecked,
            format!("not for this user ({})", error.io_error),
            "as root: a seccomp filter of a container or a security module may be what refuses it",
        ),
        Err(error) => AREA.finds(
            NAME,
            State::Failed,
            format!("the system call bpf() fails: {}", error.io_error),
            "the kernel (CONFIG_BPF_SYSCALL) or the sandbox (gVisor has none) must offer bpf()",
        ),
    }
}

fn refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EPERM | Errno::EACCES)
    )
}

fn links(release: &Release) -> Check {
    const NAME: &str = "uprobe links";
    let single = |why: &str| {
        AREA.finds(
            NAME,
            State::Limited,
            format!("one a probe ({why}): quitting takes a tenth of a second for each"),
            "nothing has to be done; Linux 6.6 or later is quicker",
        )
    };
    if !release.has_multi_links() {
        return single("this kernel has no links of many");
    }
    match is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation) {
        Ok(true) => AREA.ok(NAME, "one a library (uprobe.multi)"),
        Ok(false) => single("this kernel refuses links of many"),
        Err(error) => AREA.finds(
            NAME,
            State::Unchecked,
            format!("whether there is one a library cannot be tried: {error}"),
            "run the doctor as root",
        ),
    }
}

fn tracepoints() -> Check {
    const NAME: &str = "tracepoints";
    match Tracepoints::read() {
        Ok(found) => AREA.ok(
            NAME,
            match found.exit_group_dead {
                Some(_) => "sched_process_exec, _exit and _fork",
                None => {
                    "sched_process_exec, _exit (without group_dead: ends are looked for) and _fork"
                }
            },
        ),
        Err(FeatureError::Tracefs { cause, .. })
            if cause.kind() == io::ErrorKind::PermissionDenied =>
        {
            AREA.finds(
                NAME,
                State::NotPermitted,
                format!("tracefs cannot be read: {cause}"),
                "run it as root, or with CAP_DAC_READ_SEARCH",
            )
        }
        Err(FeatureError::Tracefs { name, cause }) => AREA.finds(
            NAME,
            State::Failed,
            format!("`sched/{name}` cannot be read: {cause}"),
            "mount tracefs: `mount -t tracefs tracefs /sys/kernel/tracing`",
        ),
        Err(error) => AREA.finds(
            NAME,
            State::Failed,
            error.to_string(),
            "please report it, with this kernel's `/sys/kernel/tracing/events/sched`",
        ),
    }
}
