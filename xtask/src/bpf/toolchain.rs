//! The compiler and linker for BPF: found, or put into the cache.
//!
//! Debian ships `core` for `bpfel-unknown-none` ready-made with its own rustc, so neither a nightly nor a build of
//! the standard library is needed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    packages,
    shell::{capture, run, step, which},
};

/// What the object is linked with; another version may give other bytes.
const LINKER_VERSION: &str = "0.13.0";
const PACKAGES: [&str; 3] = [
    "rustc-web",
    "libstd-rust-web-dev",
    "libstd-rust-web-dev-bpf",
];

#[derive(Debug)]
pub struct Toolchain {
    pub rustc: PathBuf,
    pub linker: PathBuf,
    /// Where the compiler's own libraries lie, if not where the system looks.
    pub libraries: Option<PathBuf>,
}

impl Toolchain {
    pub fn find_or_install(cache: &Path) -> Result<Self> {
        let (rustc, libraries) = match find_rustc(cache)? {
            Some(found) => found,
            None => {
                install_rustc(cache)?;
                find_rustc(cache)?.context(
                    "the packages were unpacked, but hold no core for bpfel-unknown-none",
                )?
            }
        };
        let linker = find_or_install_linker(cache, &rustc, libraries.as_deref())?;
        Ok(Self {
            rustc,
            linker,
            libraries,
        })
    }

    /// What built the object, for people.
    pub fn record(&self) -> Result<String> {
        let version = capture(with(&self.rustc, self.libraries.as_deref()).arg("-vV"))?;
        let mut record = String::new();
        for line in version.lines() {
            if line.starts_with("rustc ") || line.starts_with("LLVM version") {
                record += &format!("{line}\n");
            }
        }
        record += &capture(with(&self.linker, self.libraries.as_deref()).arg("--version"))?;
        for package in self.packages() {
            record += &format!("package {package}\n");
        }
        Ok(record)
    }

    /// `name version` of the Debian packages, where it is those.
    fn packages(&self) -> Vec<String> {
        let beside = self
            .libraries
            .as_deref()
            .and_then(|path| path.ancestors().nth(3))
            .map(|path| path.join(LIST));
        let text = match beside {
            Some(list) => std::fs::read_to_string(list).unwrap_or_default(),
            None => capture(
                Command::new("dpkg-query")
                    .args(["-W", "-f", "${Package} ${Version}\\n"])
                    .args(PACKAGES),
            )
            .unwrap_or_default(),
        };
        text.lines().map(str::to_owned).collect()
    }
}

/// In the prefix: what was unpacked into it.
const LIST: &str = "PACKAGES";

fn with(program: &Path, libraries: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

/// The first compiler that has `core` for BPF, and where its libraries lie if it is unpacked somewhere.
fn find_rustc(cache: &Path) -> Result<Option<(PathBuf, Option<PathBuf>)>> {
    let in_prefix = |prefix: &Path| {
        let usr = if prefix.join("usr/bin/rustc").is_file() {
            prefix.join("usr")
        } else {
            prefix.to_path_buf()
        };
        (
            usr.join("bin/rustc"),
            Some(usr.join("lib/x86_64-linux-gnu")),
        )
    };
    if let Some(chosen) = std::env::var_os("MEMMON_BPF_SYSROOT").filter(|chosen| !chosen.is_empty())
    {
        let found = in_prefix(Path::new(&chosen));
        if !has_core(&found.0, found.1.as_deref()) {
            bail!(
                "MEMMON_BPF_SYSROOT={} holds no rustc with core for bpfel-unknown-none",
                Path::new(&chosen).display()
            );
        }
        return Ok(Some(found));
    }
    let mut candidates = vec![(PathBuf::from("/usr/bin/rustc"), None)];
    candidates.extend(which("rustc").map(|rustc| (rustc, None)));
    candidates.push(in_prefix(&prefix(cache)));
    Ok(candidates
        .into_iter()
        .find(|(rustc, libraries)| has_core(rustc, libraries.as_deref())))
}

fn has_core(rustc: &Path, libraries: Option<&Path>) -> bool {
    let Ok(sysroot) = capture(with(rustc, libraries).args(["--print", "sysroot"])) else {
        return false;
    };
    let target = Path::new(sysroot.trim()).join("lib/rustlib/bpfel-unknown-none/lib");
    let Ok(entries) = std::fs::read_dir(target) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn prefix(cache: &Path) -> PathBuf {
    cache.join("bpf-sysroot")
}

fn install_rustc(cache: &Path) -> Result<()> {
    let manual = format!(
        "the BPF programs need a rustc with core for bpfel-unknown-none: on Debian 12 or later, \
         `apt-get install --no-install-recommends {}`; elsewhere, set MEMMON_BPF_SYSROOT to one. \
         Only `cargo xtask bpf` needs it: everything else uses the committed object",
        PACKAGES.join(" ")
    );
    if !packages::have_apt() {
        bail!(manual);
    }
    let unpacked =
        packages::unpack(&PACKAGES, &cache.join("debs"), &prefix(cache)).context(manual)?;
    std::fs::write(prefix(cache).join(LIST), unpacked.join("\n") + "\n")?;
    Ok(())
}

fn find_or_install_linker(cache: &Path, rustc: &Path, libraries: Option<&Path>) -> Result<PathBuf> {
    let works = |linker: &Path| {
        capture(with(linker, libraries).arg("--version"))
            .is_ok_and(|version| version.trim().ends_with(LINKER_VERSION))
    };
    let root = cache.join("bpf-linker");
    let kept = root.join("bin/bpf-linker");
    if works(&kept) {
        return Ok(kept);
    }
    if let Some(found) = which("bpf-linker").filter(|found| works(found)) {
        return Ok(found);
    }
    let version = capture(with(rustc, libraries).arg("-vV"))?;
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next())
        .context("rustc -vV names no LLVM version")?;
    let links = link_llvm(cache, llvm, libraries)?;
    step(format!(
        "building bpf-linker {LINKER_VERSION} (a minute or two, once)"
    ));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "install",
            "--quiet",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
            "--no-default-features",
        ])
        .args(["--features", &format!("llvm-{llvm}"), "--root"])
        .arg(&root)
        .current_dir(cache)
        .env("LLVM_PREFIX", links)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_TARGET_DIR", cache.join("bpf-linker-target"));
    if let Some(libraries) = libraries {
        cargo.env("LD_LIBRARY_PATH", libraries);
    }
    run(&mut cargo).with_context(|| {
        format!("cannot build bpf-linker: install version {LINKER_VERSION} into PATH yourself")
    })?;
    let _ = std::fs::remove_dir_all(cache.join("bpf-linker-target"));
    if !works(&kept) {
        bail!(
            "{} was built, but does not run: {}",
            kept.display(),
            capture(with(&kept, libraries).arg("--version"))
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        );
    }
    Ok(kept)
}

/// A prefix as llvm-sys wants one, of links to the shared library alone: nothing else of LLVM is needed.
fn link_llvm(cache: &Path, llvm: &str, libraries: Option<&Path>) -> Result<PathBuf> {
    let soname = |folder: &Path| {
        let entries = std::fs::read_dir(folder).ok()?;
        entries.flatten().map(|entry| entry.path()).find(|path| {
            path.file_name().is_some_and(|name| {
                name.to_string_lossy()
                    .starts_with(&format!("libLLVM.so.{llvm}."))
            })
        })
    };
    let library = libraries
        .and_then(soname)
        .or_else(|| soname(Path::new("/usr/lib/x86_64-linux-gnu")))
        .with_context(|| format!("no libLLVM.so.{llvm}: install Debian's libllvm{llvm}"))?;
    let prefix = cache.join("llvm-prefix");
    let folder = prefix.join("lib");
    std::fs::create_dir_all(&folder)?;
    let name = library.file_name().context("a library has a name")?;
    for link in [folder.join("libLLVM.so"), folder.join(name)] {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&library, &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(prefix)
}
