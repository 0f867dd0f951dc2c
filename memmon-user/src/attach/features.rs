//! What this kernel can do.

use std::{fs, io};

use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};

/// The oldest kernel that has all that is needed (ring buffer 5.8, cookies 5.15).
pub const OLDEST: (u32, u32) = (5, 15);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    pub release: Release,
    /// One link for all points of a library (6.6): without it detaching takes 0.1 s a point.
    pub uprobe_multi: bool,
    pub tracepoints: Tracepoints,
}

/// Which kernel this is, or is taken to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub text: String,
    pub version: (u32, u32),
}

impl Release {
    /// `assumed` stands in for the kernel's own, to see what an older kernel would do.
    pub fn of(assumed: Option<&str>) -> Self {
        let text = assumed.map_or_else(
            || {
                fs::read_to_string("/proc/sys/kernel/osrelease")
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            },
            str::to_owned,
        );
        let version = parse_release(&text);
        Self { text, version }
    }

    pub fn is_new_enough(&self) -> bool {
        self.version >= OLDEST
    }

    /// Return probes end in a system call (6.11) that seccomp lets pass only since 6.14. Some later
    /// releases of 6.12 and 6.13 do, too, which their number does not tell for sure.
    pub fn has_harmful_returns(&self) -> bool {
        ((6, 11)..(6, 14)).contains(&self.version)
    }

    /// Links of many probes.
    pub fn has_multi_links(&self) -> bool {
        self.version >= (6, 6)
    }
}

/// Where tracepoints name what they are about; offsets differ between kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracepoints {
    /// `sched_process_exit`: `group_dead`; none where the kernel does not say.
    pub exit_group_dead: Option<u32>,
    /// `sched_process_fork`: `child_pid`.
    pub fork_child: u32,
    /// `sched_process_exec`: `old_pid`.
    pub exec_old_pid: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    #[error(
        "this kernel ({release}) is too old: BPF ring buffers and probe cookies need Linux {}.{} or later; \
         run memmon-ebpf on a newer kernel, or read a daemon's data with --socket",
        OLDEST.0, OLDEST.1
    )]
    TooOld { release: String },
    #[error(
        "cannot read the tracepoint `sched/{name}` ({cause}): {}", Self::about_tracefs(.cause)
    )]
    Tracefs {
        name: &'static str,
        cause: io::Error,
    },
    #[error("the tracepoint `sched/{name}` of this kernel has no field `{field}`")]
    NoField {
        name: &'static str,
        field: &'static str,
    },
}

impl FeatureError {
    fn about_tracefs(cause: &io::Error) -> &'static str {
        match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                "tracefs is root's, and others need CAP_DAC_READ_SEARCH"
            }
            _ => "mount tracefs, e.g. `mount -t tracefs tracefs /sys/kernel/tracing`",
        }
    }

    /// Whether rights are what is missing: tracefs is root's.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Tracefs { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl Features {
    pub fn detect(assumed: Option<&str>) -> Result<Self, FeatureError> {
        let release = Release::of(assumed);
        if !release.is_new_enough() {
            return Err(FeatureError::TooOld {
                release: release.text,
            });
        }
        let uprobe_multi = release.has_multi_links()
            && is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation).unwrap_or(false);
        Ok(Self {
            release,
            uprobe_multi,
            tracepoints: Tracepoints::read()?,
        })
    }
}

fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

impl Tracepoints {
    pub fn read() -> Result<Self, FeatureError> {
        let exit = format("sched_process_exit")?;
        let fork = format("sched_process_fork")?;
        let exec = format("sched_process_exec")?;
        Ok(Self {
            exit_group_dead: field_offset(&exit, "group_dead"),
            fork_child: field_offset(&fork, "child_pid").ok_or(FeatureError::NoField {
                name: "sched_process_fork",
                field: "child_pid",
            })?,
            exec_old_pid: field_offset(&exec, "old_pid"),
        })
    }
}

fn format(name: &'static str) -> Result<String, FeatureError> {
    let read = |root| fs::read_to_string(format!("{root}/events/sched/{name}/format"));
    // The old place is there only where debugfs is mounted: what is said is about the first.
    read("/sys/kernel/tracing")
        .or_else(|cause| read("/sys/kernel/debug/tracing").map_err(|_| cause))
        .map_err(|cause| FeatureError::Tracefs { name, cause })
}

fn field_offset(format: &str, field: &str) -> Option<u32> {
    let line = format.lines().find(|line| {
        line.trim_start()
            .strip_prefix("field:")
            .and_then(|rest| rest.split(';').next())
            .is_some_and(|declaration| declaration.ends_with(&format!(" {field}")))
    })?;
    let at = line.split("offset:").nth(1)?;
    at.split(';').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(parse_release("6.18.44-fc"), (6, 18));
        assert_eq!(parse_release("5.4"), (5, 4));
        assert_eq!(parse_release("nonsense"), (0, 0));
    }

    #[test]
    fn return_probes() {
        let harmful = |release| Release::of(Some(release)).has_harmful_returns();
        assert!(
            ["6.11.0", "6.12.48+deb13-amd64", "6.13.7"]
                .into_iter()
                .all(harmful)
        );
        assert!(
            !["5.15.0", "6.10.14", "6.14.0", "6.18.44"]
                .into_iter()
                .any(harmful)
        );
    }

    #[test]
    fn field_offsets() {
        let text = "\tfield:pid_t parent_pid;\toffset:12;\tsize:4;\tsigned:1;\n\tfield:pid_t child_pid;\toffset:20;\tsize:4;\tsigned:1;\n";
        assert_eq!(field_offset(text, "child_pid"), Some(20));
        assert_eq!(field_offset(text, "group_dead"), None);
    }
}
