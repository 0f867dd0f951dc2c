//! Other tools that can be asked the same, or nearly: bpftrace with a script, and bcc's memleak.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use object::{Object as _, ObjectSymbol as _};

use super::observers::Observer;
use crate::{
    packages, paths,
    shell::{capture, run, which},
};

/// bcc's memleak, as Debian and others call it.
const MEMLEAK: [&str; 2] = ["memleak-bpfcc", "memleak"];

/// A tool that is there, or why it is not.
pub type Tool<T> = Result<T, String>;

#[derive(Debug)]
pub struct Tools {
    pub bpftrace: Tool<Bpftrace>,
    pub memleak: Tool<Memleak>,
}

impl Tools {
    pub fn find(repository: &Path) -> Self {
        Self {
            bpftrace: Bpftrace::find(repository).map_err(|error| format!("{error:#}")),
            memleak: Memleak::find().map_err(|error| format!("{error:#}")),
        }
    }
}

#[derive(Debug)]
pub struct Bpftrace {
    script: PathBuf,
}

impl Bpftrace {
    fn find(repository: &Path) -> Result<Self> {
        if which("bpftrace").is_none() {
            packages::install(&["bpftrace"])?;
        }
        Ok(Self {
            script: repository.join("xtask/src/bench/sums.bt"),
        })
    }

    /// Sums bytes per process and pool, in every process that maps the library of this one.
    pub fn observe(&self, pid: u32) -> Result<Observer> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let library = maps
            .lines()
            .filter_map(|line| line.get(line.find('/')?..))
            .find(|path| path.ends_with("/libtt_metal.so"))
            .context("it maps no libtt_metal.so")?;
        let mut program = Command::new("bpftrace");
        program
            .args(["-B", "none"])
            .arg(&self.script)
            .args([library, &attempt(Path::new(library))?])
            // That it cannot raise a limit which kernels since 5.11 do not apply.
            .stderr(std::process::Stdio::null());
        Observer::ready(program, "attached")
    }
}

/// The mangled name of the library's `BankManager::allocate_buffer`.
fn attempt(library: &Path) -> Result<String> {
    const PREFIX: &str = "_ZN2tt8tt_metal11BankManager15allocate_bufferE";
    let bytes = std::fs::read(library)?;
    let file = object::File::parse(&*bytes)?;
    file.dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .filter_map(|symbol| symbol.name().ok())
        .find(|name| name.starts_with(PREFIX))
        .map(ToOwned::to_owned)
        .with_context(|| format!("{} has no {PREFIX}…", library.display()))
}

#[derive(Debug)]
pub struct Memleak {
    program: PathBuf,
    /// Headers for bcc's compiler where it finds none of this kernel.
    headers: Option<PathBuf>,
}

impl Memleak {
    fn find() -> Result<Self> {
        let find = || MEMLEAK.iter().find_map(which);
        if find().is_none() {
            packages::install(&["bpfcc-tools"])?;
        }
        let program = find().context("no memleak in PATH")?;
        let release = capture(Command::new("uname").arg("-r"))?;
        let own = [
            format!("/lib/modules/{}/build", release.trim()),
            "/sys/kernel/kheaders.tar.xz".to_owned(),
        ];
        let headers = if own.iter().any(|path| Path::new(path).exists()) {
            None
        } else {
            Some(headers().context("there are no headers for its compiler")?)
        };
        Ok(Self { program, headers })
    }

    /// Every `malloc` and `free` of that process, with stacks.
    pub fn observe(&self, pid: u32) -> Result<Observer> {
        let mut program = Command::new(&self.program);
        program
            .args(["-p", &pid.to_string(), "1"])
            .env("PYTHONUNBUFFERED", "1")
            .stderr(std::process::Stdio::null());
        if let Some(headers) = &self.headers {
            program.env("BCC_KERNEL_SOURCE", headers);
        }
        Observer::ready(program, "outstanding allocations")
    }
}

/// Debian's, of whatever kernel it has: memleak looks at no kernel structure, its compiler only wants some headers.
fn headers() -> Result<PathBuf> {
    let folder = paths::cache()?.join("kernel-headers");
    let merged = folder.join("merged");
    if merged.is_dir() {
        return Ok(merged);
    }
    if !packages::have_apt() {
        bail!("and no apt to get them with");
    }
    let flavour = packages::dependencies("linux-headers-amd64")
        .into_iter()
        .flatten()
        .find(|name| name.starts_with("linux-headers-"))
        .context("apt knows no linux-headers-amd64")?;
    let common = flavour.replace("-amd64", "-common");
    let prefix = folder.join("unpacked");
    packages::unpack(&[&flavour, &common], &folder.join("debs"), &prefix)?;
    // Each has half, and refers to the other where it would be if it were installed.
    let part = folder.join("merging");
    let _ = std::fs::remove_dir_all(&part);
    std::fs::create_dir_all(&part)?;
    for half in [common, flavour] {
        let half = prefix.join("usr/src").join(half).join(".");
        run(Command::new("cp").arg("-r").arg(half).arg(&part))?;
    }
    std::fs::rename(&part, &merged)?;
    Ok(merged)
}
